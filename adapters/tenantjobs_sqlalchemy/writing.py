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
    reference = _sessions.get(connection)
    session = None if reference is None else reference()
    level = None if session is None else levels.current(session)
    if level is not None and not level.wrote and writes(statement):
        level.wrote = True


_sessions: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()
_watched: WeakSet[Engine] = WeakSet()
