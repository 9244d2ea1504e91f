"""What a session does on its connection: whether it has written, so that closing it without a commit is a loss."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from tenantjobs_sqlalchemy import levels
from tenantjobs_sqlalchemy.mixing import mix_in

# What a statement begins with, behind comments and brackets.
_VERB = re.compile(r"(?:\s|\(|/\*.*?\*/|--[^\n]*\n)*(\w+)", re.DOTALL)
_READS = {"SELECT", "VALUES", "SHOW", "SET", "EXPLAIN", "PRAGMA", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"}
_WRITES_WITHIN = re.compile(r"\b(?:INSERT|(?<!FOR )(?<!KEY )UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


def watch(session: Session, connection: Connection) -> None:
    """Note from here on whether the session writes on this connection."""
    _sessions[connection] = ref(session)
    mix_in(_Watched, connection)


def session_of(connection: Connection) -> Session | None:
    """The session that works on this connection."""
    reference = _sessions.get(connection)
    return None if reference is None else reference()


def has_unsaved(session: Session) -> bool:
    """Whether something waits in the session for its flush."""
    return bool(session.new or session.deleted or session.dirty)


@lru_cache(maxsize=1024)  # it is asked for each execution, and the same texts come again
def writes(statement: str) -> bool:
    """Whether the statement may change something. When in doubt it does; what a function does is not seen."""
    found = _VERB.match(statement)
    verb = found.group(1).upper() if found else ""
    if verb == "WITH":
        return _WRITES_WITHIN.search(statement) is not None
    return verb not in _READS


class _Watched(Connection):
    """Mixed into the connection of a session. Its events would cost more, as those of ``scoping.guard`` would."""

    def _execute_context(self, dialect: Any, constructor: Any, statement: Any, *details: Any, **more: Any) -> Any:
        session = session_of(self)
        if session is not None:
            # A transaction that began in another thread's or task's context counts in this one as soon as it is used
            # here. To hear it from do_orm_execute would cost each query some 7 % more instructions: SQLAlchemy prepares
            # the query twice then.
            levels.note(session)
        result = super()._execute_context(dialect, constructor, statement, *details, **more)
        if session is not None and writes(str(statement)) and session.get_transaction() is not None:
            level, root = levels.pair(session)
            level.wrote = root.locked = True
        return result

    def _commit_impl(self) -> None:
        self._will_commit()
        super()._commit_impl()

    def _commit_twophase_impl(self, xid: Any, is_prepared: bool) -> None:
        self._will_commit()
        super()._commit_twophase_impl(xid, is_prepared)

    def _will_commit(self) -> None:
        session = session_of(self)
        root = None if session is None else levels.root(session)
        if root is not None:
            root.commit_asked = True


_sessions: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()
