"""What people do with entries: look at them, run one now, pause and resume one."""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from tenantjobs import clock
from tenantjobs.config.mistakes import meant
from tenantjobs.errors import ConfigurationError
from tenantjobs.recurring import dynamic, entries
from tenantjobs.recurring.entries import Entry
from tenantjobs.recurring.scheduler import tenant_ids
from tenantjobs.recurring.sending import Sending
from tenantjobs.ticks import State, Tick, keeper


class Shown(msgspec.Struct, frozen=True):
    """An entry as it is shown to people."""

    key: str
    job: str
    schedule: str
    crons: tuple[str, ...]
    zone: str
    words: str
    scope: str
    source: str  # file | dynamic
    paused: bool
    last_at: datetime | None
    next_at: datetime | None  # None while it is paused; of tenants with clocks of their own by the configured one
    description: str | None = None


def everything() -> dict[str, Entry]:
    """The entries of the file, and those that were scheduled at run time, by key."""
    found = dict(entries.of_file())
    for key, state in keeper().ticks.states().items():
        if state.entry is not None and key not in found:
            found[key] = dynamic.entry(key, state.entry)
    return found


def shown() -> list[Shown]:
    """All entries, by key."""
    states = keeper().ticks.states()
    return [_shown(entry, states.get(key)) for key, entry in sorted(everything().items())]


def run(key: str, *, tenant_id: str | None = None) -> int:
    """Enqueue the entry now, beside its schedule; how many jobs. For ``tenant_id`` alone if that is said."""
    entry = _entry(key)
    now, period = clock.now(), f"run {uuid.uuid4().hex}"
    if tenant_id is not None and not entry.for_each_tenant:
        raise ConfigurationError(f"recurring {key} is not for each tenant, so not for tenant {tenant_id} either")
    entry = msgspec.structs.replace(entry, jitter=0.0)
    sending = Sending(keeper())
    if not entry.for_each_tenant:
        return sending.send(entry, [Tick(key, "", period, now)])
    pages = [[tenant_id]] if tenant_id is not None else tenant_ids(entry)
    return sum(sending.send(entry, [Tick(key, tenant, period, now) for tenant in page]) for page in pages)


def pause(key: str) -> None:
    """Enqueue the entry no more, until it is resumed."""
    keeper().ticks.pause(_entry(key).key, clock.now())


def resume(key: str) -> None:
    """Go on from now; what came due meanwhile is left out."""
    keeper().ticks.resume(_entry(key).key, clock.now())


def _entry(key: str) -> Entry:
    found = everything()
    if key not in found:
        raise ConfigurationError(f"there is no recurring entry {key!r}{meant(key, found)}")
    return found[key]


def _shown(entry: Entry, state: State | None) -> Shown:
    paused = state is not None and state.paused
    schedule = entry.schedule
    return Shown(
        key=entry.key,
        job=entry.target.path,
        schedule=schedule.text,
        crons=schedule.crons,
        zone="of each tenant" if entry.by_tenants_clock else str(schedule.zone),
        words=schedule.explain(),
        scope="each tenant" if entry.for_each_tenant else "" if entry.system is None else f"system: {entry.system}",
        source="dynamic" if entry.dynamic else "file",
        paused=paused,
        last_at=None if state is None else state.last_at,
        next_at=None if paused else schedule.next_after(clock.now()),
        description=entry.description,
    )
