"""What a configuration wants ``tenantjobs work`` to run: the worker of each queue that is served, and the relay."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tenantjobs import adapter, gate, outbox, runtime
from tenantjobs.adapter import Adapter, WorkOptions, Works
from tenantjobs.cli.lazily import recurring
from tenantjobs.config import Settings
from tenantjobs.errors import ConfigurationError

# What performs the jobs of the adapters in the neutral layer; others say it in `how_to_work`.
WITHOUT_WORKERS = {
    "inline": "each job is performed where it is enqueued",
    "test": "jobs wait in memory for tenantjobs.testing.drain()",
}

RELAY = "outbox"
RECURRING = "recurring"


def workers(settings: Settings) -> dict[str, Works]:
    """By name: the worker of the adapter, those of ``[gate]`` and ``[drain]``, the relay of the outbox, the scheduler.

    ``ConfigurationError`` says why there is none, or why the queue in ``[drain]`` cannot be drained.
    """
    target = adapter.configured()
    found: dict[str, Works] = {}
    if isinstance(target, Works):
        found[str(settings.adapter)] = target
    gated = gate.settings()
    if gated is not None:
        found[gated.adapter] = gate.workers()
    if settings.drain is not None:
        found[settings.drain.adapter] = _drained(settings, settings.drain.adapter, target)
    relay: object = outbox.configured()
    if outbox.KEEPER not in found and isinstance(relay, Works):  # else its worker relays as well
        found[RELAY] = relay
    if settings.adapter != outbox.KEEPER and recurring("entries").of_file():  # else its worker schedules as well
        found[RECURRING] = recurring().Scheduler()
    if not found:
        raise ConfigurationError(_without_worker(str(settings.adapter), target))
    return found


def scheduling(name: str, options: WorkOptions) -> AbstractContextManager[None]:
    """Enqueue recurring jobs beside the worker of the adapter ``name``, while the block runs."""
    if name != runtime.settings().adapter or options.drain:
        return nullcontext()
    has_ticks = recurring().HasTicks
    if not isinstance(adapter.keeper(has_ticks), has_ticks) and not recurring("entries").of_file():
        return nullcontext()
    running: AbstractContextManager[None] = recurring().Scheduler().running()
    return running


def _drained(settings: Settings, name: str, target: Adapter) -> Works:
    """The queue that jobs were enqueued to before, if its jobs can go on as they were meant to."""
    place = settings.origins.get("drain.adapter", "[drain] adapter")
    if name == settings.adapter:
        raise ConfigurationError(
            f"{place}: [drain] adapter = {name!r} is the adapter that jobs are enqueued to: name the one that they "
            f"were enqueued to before, or leave [drain] out"
        )
    drained = adapter.built(name)
    if not isinstance(drained, Works):
        raise ConfigurationError(f"{place}: [drain]: {_without_worker(name, drained)}")
    if not target.capabilities.delay:
        raise ConfigurationError(
            f"{place}: [drain] adapter = {name!r}: what waits there may have to wait on, and the adapter "
            f"{settings.adapter!r} does not declare 'delay': let the old queue run empty before the swap"
        )
    return drained


def _without_worker(name: str, found: Adapter) -> str:
    how = getattr(found, "how_to_work", None) or WITHOUT_WORKERS.get(name, "its own workers perform its jobs")
    return f"the adapter {name!r} has no worker to start here: {how}"
