"""What a session holds already: given out to the tenant that it belongs to, and to no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, inspect
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.mixing import mix_in
from tenantjobs_sqlalchemy.scoping import ownership
from tenantjobs_sqlalchemy.scoping.columns import mapper_of
from tenantjobs_sqlalchemy.scoping.ownership import UNKNOWN


class Guarded:
    """An identity map that refuses records of other tenants.

    ``Session.get`` and the lazy load of a many-to-one ask it before the database, and no event says so.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)  # type: ignore[misc]  # of the identity map
        if found is not None and in_force().reach.reason is None:
            _require_own(found)
        return found

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)  # type: ignore[misc]  # of the identity map
        if in_force().reach.reason is None:
            _require_own(found)
        return found

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
    if mapper is None:
        return set()
    names = [mapper.get_property_by_column(column).key for column in columns]
    new = (record for record in session.new if isinstance(record, mapper.class_))
    return {tuple(record.__dict__.get(name) for name in names) for record in new}


def guard(session: Session, _transaction: SessionTransaction | None = None) -> None:
    """Guard the identity map of the session, before anything gets into it; ``expunge_all`` makes another one."""
    # The class and not the object is exchanged: records refer to the map by a weak reference of their own.
    mix_in(Guarded, session.identity_map)


def _require_own(record: object) -> None:
    state: InstanceState[Any] | None = inspect(record, raiseerr=False)
    if state is None:
        return
    name = ownership.attribute(state.mapper)
    if name is not None:
        owner = ownership.stored(state, name)
        if owner is not UNKNOWN:  # else it is checked when it has been loaded again
            ownership.require_own(state, owner, "read")
