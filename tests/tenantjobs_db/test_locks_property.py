"""Whatever is locked and unlocked, in whatever order: the database, memory and a plain model answer the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tenantjobs.locks import Lock
from tenantjobs.testing.locks import MemoryLocks
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tenantjobs_db.locks import DatabaseLocks

JOBS = ("a", "b", "c", "d")
ENDED, LASTING = -60.0, 3600.0

wishes = st.builds(
    Lock,
    tenant=st.sampled_from(("", "acme")),
    key=st.sampled_from(("k", "l")),
    owner=st.sampled_from(JOBS),
    seconds=st.sampled_from((ENDED, LASTING)),
)


def lasting_where_shared(locks: list[Lock]) -> list[Lock]:
    """A lock has ended before the next call, and not before the next one of the same."""
    places = [(lock.tenant, lock.key) for lock in locks]
    shared = [places.count(place) > 1 for place in places]
    return [replace(lock, seconds=LASTING) if each else lock for lock, each in zip(locks, shared, strict=True)]


calls = st.tuples(
    st.booleans(),
    st.lists(wishes, min_size=1, max_size=4, unique_by=lambda lock: lock.owner).map(lasting_where_shared),
)


class Model:
    """Who has what, and for whom that counts."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Lock] = {}

    def lock(self, locks: list[Lock]) -> dict[str, str]:
        refused = {}
        for lock in locks:
            holder = self.held.get((lock.tenant, lock.key))
            if holder is not None and holder.owner != lock.owner and holder.seconds == LASTING:
                refused[lock.owner] = holder.owner
            else:
                self.held[lock.tenant, lock.key] = lock
        return refused

    def unlock(self, locks: list[Lock]) -> None:
        for lock in locks:
            holder = self.held.get((lock.tenant, lock.key))
            if holder is not None and holder.owner == lock.owner:
                del self.held[lock.tenant, lock.key]


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, max_size=8))
def test_they_answer_as_the_model_does(steps: list[tuple[bool, list[Lock]]]) -> None:
    database = own("sqlite://")
    schema.upgrade(database.engine)
    model, others = Model(), (MemoryLocks(), DatabaseLocks(database))
    try:
        for locking, locks in steps:
            if locking:
                expected = model.lock(locks)
                assert [dict(each.lock(locks)) for each in others] == [expected, expected]
            else:
                model.unlock(locks)
                for each in others:
                    each.unlock(locks)
    finally:
        database.close()
