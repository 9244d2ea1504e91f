"""What a session holds already: given out to the tenant that it belongs to, and to no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, inspect
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.exc import ObjectDeletedError

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.mixing import mix_in
from tenantjobs_sqlalchemy.scoping import ownership
from tenantjobs_sqlalchemy.scoping.columns import mapper_of
from tenantjobs_sqlalchemy.scoping.ownership import UNKNOWN
from tenantjobs_sqlalchemy.scoping.refusals import Unproved

NOBODY = object()
EVERYBODY = object()


class Guarded:
    """An identity map that refuses records of other tenants.

    ``Session.get`` and the lazy load of a many-to-one ask it before the database, and no event says so.
    """

    #: The only tenant in whose scope it has been filled: all that is in it was read for that tenant.
    filled_for: Any = NOBODY

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)  # type: ignore[misc]  # of the identity map
        if found is not None and in_force().reach.reason is None:
            self._require_own(found)
        return found

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)  # type: ignore[misc]  # of the identity map
        if in_force().reach.reason is None:
            self._require_own(found)
        return found

    def _require_own(self, record: object) -> None:
        state: InstanceState[Any] | None = inspect(record, raiseerr=False)
        name = None if state is None else ownership.attribute(state.mapper)
        if state is None or name is None:
            return
        owner = ownership.stored(state, name)
        if owner is UNKNOWN:
            if state.expired or self.filled_for == in_force().reach.tenant_id:
                return  # it will be checked when it is loaded again, or has been when it was loaded without its tenant
            owner = _loaded(state, name)
        ownership.require_own(state, owner, "read")

    def held(self, key: Any) -> Any:
        """What is there, whosever it is."""
        return super().get(key)  # type: ignore[misc]  # of the identity map


def holds_own(session: Session, columns: Sequence[Column[Any]], key: tuple[Any, ...]) -> bool:
    """Whether the session holds the row that has ``key`` in these columns, and it is the tenant's.

    ``WrongTenant`` if it is another tenant's.
    """
    mapper = mapper_of(columns[0].table)
    known = session.identity_map
    if mapper is None or not isinstance(known, Guarded) or tuple(columns) != tuple(mapper.local_table.primary_key):
        return False
    record = known.held(mapper.identity_key_from_primary_key(key))
    if record is None:
        return False
    state = instance_state(record)
    owner = ownership.stored(state, record.__tenant_column__)
    if owner is UNKNOWN:
        return False
    ownership.require_own(state, owner, "referred to")
    return True


def pending(session: Session, columns: Sequence[Column[Any]]) -> set[tuple[Any, ...]]:
    """The keys of rows that the flush of the session has made, each of which was looked at before."""
    mapper = mapper_of(columns[0].table)
    if mapper is None or not session._flushing:
        return set()
    names = [mapper.get_property_by_column(column).key for column in columns]
    new = (record for record in session.new if isinstance(record, mapper.class_))
    return {tuple(record.__dict__.get(name) for name in names) for record in new}


def will_fill(session: Session) -> None:
    """Say that a statement of the scope in force is about to fill the identity map of the session."""
    known: Any = session.identity_map
    tenant_id = in_force().reach.tenant_id
    if known.filled_for != tenant_id:
        known.filled_for = tenant_id if known.filled_for is NOBODY else EVERYBODY


def guard(session: Session, _transaction: SessionTransaction | None = None) -> None:
    """Guard the identity map of the session, before anything gets into it; ``expunge_all`` makes another one."""
    # The class and not the object is exchanged: records refer to the map by a weak reference of their own.
    mix_in(Guarded, session.identity_map)


def _loaded(state: InstanceState[Any], name: str) -> Any:
    """Whose a record is that was loaded without saying so."""
    try:
        return getattr(state.obj(), name)
    except ObjectDeletedError as error:  # by the filter
        raise Unproved(f"nothing says whose the {state.class_.__name__} is that the session holds") from error
