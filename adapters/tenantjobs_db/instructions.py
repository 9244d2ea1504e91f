"""What is said of queues, jobs and tenants at the moment of a claim."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection, exists, literal, or_, select

from tenantjobs import definition
from tenantjobs_db.tables import controls


class Instructions(msgspec.Struct, frozen=True):
    """What is paused, and whether some tenant is; and whether anything is said that takes ``Picking`` to claim by."""

    queues: frozenset[str] = frozenset()
    jobs: Mapping[str, str] = {}  # every name that a paused class has or had, and the one that it is paused by
    picked: bool = False
    tenants: bool = False

    @classmethod
    def read(cls, connection: Connection) -> Instructions:
        rows = connection.execute(_SAID).all()
        return cls(
            frozenset(row.name for row in rows if row.kind == "queue"),
            {name: row.name for row in rows if row.kind == "job" for name in _names(row.name)},
            any(row.kind == "tenant" for row in rows),
            any(row.kind == "tenants" for row in rows),
        )


def paused_key(name: str) -> str:
    """What the jobs of a paused class are blocked by; the keys of limits are JSON."""
    return f"paused {name}"


def paused_name(key: str) -> str | None:
    """The class whose jobs wait in the line of ``key`` for it to be resumed; None for a line of another kind."""
    return key.removeprefix("paused ") if key.startswith("paused ") else None


def _names(name: str) -> Collection[str]:
    """All names that jobs of the class may have been enqueued under."""
    found = definition.lookup(name)
    return (name,) if found is None else {name, found.name, *found.aliases}


_SAID = (
    select(controls.c.kind, controls.c.name)
    .where(controls.c.kind != "tenant", controls.c.paused_at.is_not(None))
    .union_all(
        select(literal("tenants"), literal("")).where(
            exists().where(controls.c.kind == "tenant", controls.c.paused_at.is_not(None))
        ),
        select(literal("tenant").label("kind"), literal("").label("name")).where(
            exists().where(
                or_(*(column.is_not(None) for column in (controls.c.weight, controls.c.cap, controls.c.rate)))
            )
        ),
    )
)
