"""Whether a transaction has written, so that closing it without a commit loses something."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from tenantjobs_sqlalchemy import levels

# What a statement begins with, behind comments and brackets.
_VERB = re.compile(r"(?:\s|\(|/\*.*?\*/|--[^\n]*\n)*(\w+)", re.DOTALL)
_READS = {"SELECT", "VALUES", "SHOW", "SET", "EXPLAIN", "PRAGMA", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"}
_WRITES_WITHIN = re.compile(r"\b(?:INSERT|(?<!FOR )(?<!KEY )UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


def watch(session: Session, connection: Connection) -> None:
    """Note from here on whether the session writes on this connection."""
    _sessions[connection] = ref(session)
    engine = connection.engine
    if engine not in _watched:
        _watched.add(engine)
        event.listen(engine, "after_cursor_execute", _executed)
        event.listen(engine, "commit", _committing)
        event.listen(engine, "commit_twophase", _committing)


def session_of(connection: Connection) -> Session | None:
    """The session that works on this connection."""
    reference = _sessions.get(connection)
    return None if reference is None else reference()


def has_unsaved(session: Session) -> bool:
    """Whether something waits in the session for its flush."""
    return bool(session.new or session.deleted or session.dirty)


def writes(statement: str) -> bool:
    """Whether the statement may change something. When in doubt it does; what a function does is not seen."""
    found = _VERB.match(statement)
    verb = found.group(1).upper() if found else ""
    if verb == "WITH":
        return _WRITES_WITHIN.search(statement) is not None
    return verb not in _READS


def _executed(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    session = session_of(connection)
    if session is None or session.get_transaction() is None:
        return
    level, root = levels.pair(session)
    if not (level.wrote and root.locked) and writes(statement):
        level.wrote = root.locked = True


def _committing(connection: Connection, *_: object) -> None:
    session = session_of(connection)
    root = None if session is None else levels.root(session)
    if root is not None:
        root.commit_asked = True


_sessions: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()
_watched: WeakSet[Engine] = WeakSet()
