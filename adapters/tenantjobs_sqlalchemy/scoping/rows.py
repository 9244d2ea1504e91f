"""Records in a session: whose a new one is, and that only the tenant's own are changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, event, or_, select
from sqlalchemy.orm import InstanceState, Mapper, QueryContext, Session
from sqlalchemy.orm.attributes import instance_state

from tenantjobs.current import Current
from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import identities, ownership, reads
from tenantjobs_sqlalchemy.scoping.ownership import UNKNOWN
from tenantjobs_sqlalchemy.scoping.refusals import Unproved

_scoped: Any


def listen(scoped: Any) -> None:
    """Look after records of ``scoped``, in every session."""
    global _scoped
    _scoped = scoped
    event.listen(Session, "after_transaction_create", identities.guard)
    event.listen(Session, "before_attach", _attached)
    event.listen(Session, "before_flush", _will_flush)
    event.listen(scoped, "refresh", _refreshed, propagate=True)


def _attached(_session: Session, record: Any) -> None:
    """A new record belongs to the tenant of this moment, whenever it is flushed."""
    if isinstance(record, _scoped) and in_force().reach.tenant_id is not None:
        state = instance_state(record)
        name = record.__tenant_column__
        if state.key is None:
            if state.dict.get(name) is None:
                setattr(record, name, record.__tenant_value__())
        elif (owner := ownership.stored(state, name)) is not UNKNOWN:
            ownership.require_own(state, owner, "attached")


def _will_flush(session: Session, *_flush: object) -> None:
    if in_force().reach.reason is not None:
        return
    expected = _Expected()
    for record in session.new:
        name, own = expected[type(record)]
        if name is not None and record.__dict__.get(name) != own:
            _fill(record)
    doubtful: dict[Mapper[Any], list[InstanceState[Any]]] = {}
    # The states of session.dirty and session.deleted, which would cost as much as all of this loop.
    for state in (*session._dirty_states, *session._deleted):
        name, own = expected[state.class_]
        if name is None or (name not in state.committed_state and state.obj().__dict__.get(name) == own):
            continue  # as nearly all: it says what it said when it was loaded
        if not _is_known_to_be_own(state):
            doubtful.setdefault(state.mapper, []).append(state)
    for mapper, states in doubtful.items():
        _look_up(session, mapper, states)


class _Expected(dict[type, tuple[str | None, Any]]):
    """What records of a class say in which attribute if they are the tenant's, as nearly all of them do."""

    def __missing__(self, kind: Any) -> tuple[str | None, Any]:
        found = (kind.__tenant_column__, kind.__tenant_value__()) if issubclass(kind, _scoped) else (None, None)
        self[kind] = found
        return found


def _fill(record: Any) -> None:
    state = instance_state(record)
    name = record.__tenant_column__
    value = state.dict.get(name)
    if value is None:
        setattr(record, name, ownership.value_of(state.mapper)())
    else:
        ownership.require_own(state, value, "written")


def _is_known_to_be_own(state: InstanceState[Any]) -> bool:
    name = ownership.attribute(state.mapper)
    assert name is not None
    owner = ownership.stored(state, name)
    if name in state.committed_state and name in state.dict:  # it would be moved
        ownership.require_own(state, state.dict[name], "changed")
    if owner is UNKNOWN:
        return False
    ownership.require_own(state, owner, "changed")
    return True


def _look_up(session: Session, mapper: Mapper[Any], states: Iterable[InstanceState[Any]]) -> None:
    """Whose the rows are, by one statement. One that is not there is left to SQLAlchemy, which misses it."""
    name = ownership.attribute(mapper)
    assert name is not None
    found = {state.key[1]: state for state in states if state.key is not None}
    keys = mapper.primary_key
    wanted = (
        keys[0].in_([key[0] for key in found])
        if len(keys) == 1
        else or_(*(and_(*(column == part for column, part in zip(keys, key, strict=True))) for key in found))
    )
    with Current.system("whose rows are they"):
        rows = session.execute(select(*keys, mapper.columns[name]).where(wanted)).all()
    for *key, owner in rows:
        state = found.get(tuple(key))
        if state is not None:
            ownership.require_own(state, owner, "changed")


def _refreshed(record: Any, context: QueryContext | None, _names: Any) -> None:
    """What was loaded again without knowing whose it is must turn out to be the tenant's."""
    if context is None or reads.TRUSTED not in context.execution_options:  # None: an UPDATE has told the record
        return
    state = instance_state(record)
    name = record.__tenant_column__
    owner = ownership.stored(state, name)
    try:
        if owner is UNKNOWN:
            raise Unproved(f"a {state.mapper.class_.__name__} was loaded again, and nothing says whose it is")
        ownership.require_own(state, owner, "read")
    except Exception:
        state._expire(state.dict, set())  # nothing of it stays in memory
        raise
