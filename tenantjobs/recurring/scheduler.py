"""The scheduler: looks what has come due, and enqueues it. Any number may run, and any of them may be killed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from itertools import islice
from queue import Empty, SimpleQueue
from uuid import UUID

from tenantjobs import clock, runtime, signals
from tenantjobs.adapter import WorkOptions
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError
from tenantjobs.identity import canonical_id
from tenantjobs.recurring import dynamic, entries, planning
from tenantjobs.recurring.entries import Entry
from tenantjobs.recurring.sending import Sending
from tenantjobs.schedules.zones import zone_of
from tenantjobs.tenants import id_of
from tenantjobs.ticks import State, Tick, keeper

logger = logging.getLogger("tenantjobs.recurring")

PAGE = 500  # tenants whose jobs are enqueued by one transaction
LONGEST_PAUSE = 5.0  # seconds until the next look: what is scheduled, paused and resumed meanwhile is noticed then
SHORTEST_PAUSE = 0.05


class Scheduler:
    """Enqueues what the file and ``schedule(...)`` say. What is to be remembered is in the database alone."""

    def __init__(self) -> None:
        self._static = entries.of_file()
        self._keeper = keeper()
        self._ticks = self._keeper.ticks
        self._sending = Sending(self._keeper)
        self._complained: set[str] = set()
        # SimpleQueue.put may be called in a signal handler, which Event.set may not.
        self._stopped: SimpleQueue[None] = SimpleQueue()

    def tick(self) -> int:
        """Enqueue everything that has come due; how many jobs. An entry that fails is logged, and keeps none back."""
        now, states = clock.now(), self._ticks.states()
        enqueued = 0
        for entry in self._entries(states):
            try:
                enqueued += self._look(entry, states.get(entry.key), now)
            except Exception:
                logger.exception("recurring %s could not be enqueued, and is tried again", entry.key)
        return enqueued

    def pause(self) -> float:
        """Seconds until something comes due, or until the next look."""
        now, states = clock.now(), self._ticks.states()
        waits = [LONGEST_PAUSE]
        for entry in self._entries(states):
            state = states.get(entry.key)
            if state is not None and not state.paused and not entry.by_tenants_clock:
                waits.append((entry.schedule.next_after(max(state.planned_at, now)) - now).total_seconds())
        return max(min(waits), SHORTEST_PAUSE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Schedule on a thread of its own until the block is left."""
        thread = threading.Thread(target=self._run, name="tenantjobs-recurring", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join(5.0)

    def work(self, options: WorkOptions) -> int:
        """Do nothing but schedule, until stopped; nothing at all with ``drain``, which is for what waits already."""
        if not options.drain:
            with signals.obeyed(self):
                self._run()
        return 0

    def stop(self) -> None:
        """End after what is under way."""
        self._stopped.put(None)

    def halt(self) -> None:
        self._stopped.put(None)

    def quiet(self) -> None:
        """It performs nothing, so that it goes on."""

    def _run(self) -> None:
        logger.info("scheduling recurring jobs: %d in the file", len(self._static))
        pause = 0.0
        while not self._is_stopped_within(pause):
            try:
                self.tick()
                pause = self.pause()
            except Exception as error:  # the database does not answer
                pause = LONGEST_PAUSE
                logger.warning("recurring jobs could not be looked at, tried again in %g s: %s", pause, error)

    def _is_stopped_within(self, seconds: float) -> bool:
        try:
            self._stopped.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _entries(self, states: Mapping[str, State]) -> Iterator[Entry]:
        yield from self._static.values()
        for key, state in states.items():
            if state.entry is None or key in self._static:
                continue
            try:
                yield dynamic.entry(key, state.entry)
            except ConfigurationError as error:
                if key not in self._complained:
                    self._complained.add(key)
                    logger.error("recurring %s, which was scheduled at run time, is left out: %s", key, error)

    def _look(self, entry: Entry, state: State | None, now: datetime) -> int:
        if state is None:
            self._ticks.begin(entry.key, now)
            return 0
        elif state.paused or state.planned_at >= now:
            return 0
        elif entry.by_tenants_clock:
            return self._by_their_clocks(entry, state, now)
        enqueued = 0
        for time in planning.due(entry.schedule, state.planned_at, now, entry.catch_up):
            if entry.for_each_tenant:
                enqueued += self._for_each(entry, lambda _zone, time=time: [time])  # type: ignore[misc]
            else:
                enqueued += self._sending.send(entry, [Tick(entry.key, "", planning.period(time, local=False), time)])
            self._ticks.advance(entry.key, time, enqueued=time)
        return enqueued

    def _by_their_clocks(self, entry: Entry, state: State, now: datetime) -> int:
        """The same for tenants that have time zones: it comes due for each of them when its own clock says so."""
        if planning.next_anywhere(entry.schedule, state.planned_at).timestamp() > now.timestamp():
            return 0
        found: dict[tzinfo, list[datetime]] = {}

        def times(zone: tzinfo) -> list[datetime]:
            if zone not in found:
                schedule = entry.schedule.in_zone(zone)
                found[zone] = planning.due(schedule, state.planned_at, now, entry.catch_up)
            return found[zone]

        enqueued = self._for_each(entry, times)
        self._ticks.advance(entry.key, now, enqueued=now if enqueued else None)
        return enqueued

    def _for_each(self, entry: Entry, times: Callable[[tzinfo], list[datetime]]) -> int:
        enqueued = seen = 0
        for page in _pages(entry):
            seen += len(page)
            ticks = [tick for tenant in page for tick in _ticks(entry, tenant, times)]
            enqueued += self._sending.send(entry, ticks)
        logger.info("recurring %s: enqueued for %d of %d tenants", entry.key, enqueued, seen)
        return enqueued


def tenant_ids(entry: Entry) -> Iterator[list[str]]:
    """The ids of all tenants, some at a time."""
    for page in _pages(entry):
        yield [tenant_id for tenant in page if (tenant_id := _id(entry, tenant)) is not None]


def _ticks(entry: Entry, tenant: object, times: Callable[[tzinfo], list[datetime]]) -> list[Tick]:
    """Those of one tenant. What is wrong with it keeps no other one back."""
    local = entry.by_tenants_clock
    tenant_id = _id(entry, tenant)
    if tenant_id is None:
        return []
    try:
        zone = _zone(tenant) if local else entry.schedule.zone
    except Exception:
        logger.exception("recurring %s leaves out tenant %s: its time zone is not known", entry.key, tenant_id)
        return []
    return [Tick(entry.key, tenant_id, planning.period(time, local=local), time) for time in times(zone)]


def _id(entry: Entry, tenant: object) -> str | None:
    try:
        return canonical_id(tenant) if isinstance(tenant, str | int | UUID) else id_of(tenant)
    except Exception:
        logger.exception("recurring %s leaves out %.80r, which is no tenant", entry.key, tenant)
        return None


def _pages(entry: Entry) -> Iterator[list[object]]:
    """All tenants, some at a time; looked for in the system's scope, since there is no tenant yet."""
    tenants: Callable[[], Iterable[object]] = runtime.settings().tenants
    reason = f"recurring {entry.key}: which tenants there are"
    with Current.system(reason):
        found = iter(tenants())
    while True:
        with Current.system(reason):
            page = list(islice(found, PAGE))
        if not page:
            return
        yield page


def _zone(tenant: object) -> tzinfo:
    found = runtime.settings().zone_of(tenant)
    if found is None:
        return zone_of(runtime.settings().time_zone)
    return found if isinstance(found, tzinfo) else zone_of(str(found))
