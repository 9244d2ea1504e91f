"""From ticks to jobs: each tick is taken and its job written by one transaction, or taken until the queue has it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import msgspec

from tenantjobs import adapter, clock, faults, outbox
from tenantjobs.adapter import Adapter
from tenantjobs.call import Call
from tenantjobs.controls import HasControls
from tenantjobs.current import Current
from tenantjobs.definition import lookup
from tenantjobs.errors import TenantGone, TenantUnavailable
from tenantjobs.jobs import bound_call
from tenantjobs.locks import admit, enqueue_admitted
from tenantjobs.message import Message
from tenantjobs.options import options
from tenantjobs.recurring import planning
from tenantjobs.recurring.entries import Entry
from tenantjobs.ticks import HasTicks, Tick

logger = logging.getLogger("tenantjobs.recurring")

CALL = "tenantjobs.recurring.call"  # the job that calls what is no job, known only where there is such an entry


class Sending:
    """Writes jobs together with their ticks where both are in one database, or jobs go by the outbox.

    On another queue a tick is committed after the queue has taken its job: who is killed in between leaves it to be
    enqueued again, by another scheduler.
    """

    def __init__(self, keeper: HasTicks) -> None:
        self._keeper = keeper

    def send(self, entry: Entry, ticks: Sequence[Tick]) -> int:
        """Enqueue the jobs of those ticks that nobody else has taken; how many."""
        target = adapter.configured()
        wanted = self._open(entry, self._keeper.ticks.untaken(ticks))
        made = {tick: message for tick in wanted if (message := _made(entry, tick, target))}
        if not made:
            return 0
        at_once = self._keeper is cast(object, target)  # one database, one transaction
        box = None if at_once else outbox.configured()
        with self._keeper.transaction() as connection:
            taken = self._keeper.ticks.take(list(made), connection)
            ours = [message for tick, message in made.items() if tick in taken]
            admitted = admit(ours, target, connection)
            faults.point("before_recurring")
            if box is not None and box.joins(connection):
                box.write_within(connection, [message.seal() for message in admitted])
                errors = {}
            else:
                box = None
                errors = dict(enqueue_admitted(admitted, target, connection))
            faults.point("after_recurring")
        if box is not None:
            box.publish([message.seal() for message in admitted], target)
        return _told(made.values(), ours, admitted, errors)

    def _open(self, entry: Entry, ticks: Sequence[Tick]) -> Sequence[Tick]:
        """Those of tenants that take jobs. One that is closed would be refused, and the whole transaction with it."""
        tenants = {tick.tenant for tick in ticks if tick.tenant}
        if not tenants or not isinstance(self._keeper, HasControls):
            return ticks
        closed = self._keeper.controls.closed(tenants)
        for tenant in sorted(closed):
            logger.info("recurring %s leaves out tenant %s, which is closed", entry.key, tenant)
        return [tick for tick in ticks if tick.tenant not in closed]


def _made(entry: Entry, tick: Tick, target: Adapter) -> Message | None:
    """The job of a tick, in its scope; None if it cannot be made, which is logged, and keeps no other tenant back."""
    try:
        with _scope(entry, tick):
            return Message(_call(entry, tick), target)
    except (TenantGone, TenantUnavailable) as error:
        logger.info("recurring %s leaves out tenant %s, which is not ready: %s", entry.key, tick.tenant, error)
    except Exception:
        logger.exception("recurring %s could not be enqueued for tenant %s", entry.key, tick.tenant or None)
    return None


def _call(entry: Entry, tick: Tick) -> Call:
    call = entry.target.call() if entry.target.definition is not None else _calling(entry)
    due = tick.at + planning.delay(entry, tick.tenant) if entry.jitter else None
    chosen = options(wait_until=due if due and due > clock.now() else None, queue=entry.queue, priority=entry.priority)
    return msgspec.structs.replace(call, options=chosen)


def _calling(entry: Entry) -> Call:
    job = lookup(CALL)
    assert job is not None
    return bound_call(job, (entry.key,), {})


def _scope(entry: Entry, tick: Tick) -> AbstractContextManager[object]:
    if tick.tenant:
        return Current.set(tenant_id=tick.tenant)
    elif entry.system is not None:
        return Current.system(entry.system)
    else:
        return nullcontext()


def _told(
    made: Iterable[Message], ours: Sequence[Message], admitted: Sequence[Message], errors: Mapping[str, Exception]
) -> int:
    """Tell each job how it went; how many are in the queue. Those that were not admitted have been told why."""
    for message in made:
        if message not in ours:
            message.dropped("another scheduler was first")
    for message in admitted:
        if message.job_id in errors:
            message.failed(errors[message.job_id])
        else:
            message.sent()
    return len(admitted) - len(errors)
