"""Which processes a supervisor runs."""

from __future__ import annotations

import os
import re
from typing import Annotated, ClassVar, Literal

import msgspec

from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import memory
from tenantjobs_db.recycling import Limits
from tenantjobs_db.selection import Selection
from tenantjobs_db.settings import Positive

UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]i?B|B)", re.IGNORECASE)

Count = Annotated[int, msgspec.Meta(ge=1)]


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker", tag_field="kind"):
    """Some worker processes of one kind; times are seconds.

    ``max_jobs``, ``max_age`` and ``max_memory`` (bytes, or ``"512MB"``) say when one of them makes room for another.
    """

    kind: ClassVar[str] = "worker"

    queues: tuple[str, ...] | dict[str, int] | str = ("*",)
    threads: Count = 3
    processes: Count | Literal["auto"] = 1
    polling_interval: Positive = 0.1
    max_jobs: Count | None = None
    max_age: Positive | None = None
    max_memory: Count | str | None = None

    def __post_init__(self) -> None:
        try:
            Selection(self.names, self.weights)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        if isinstance(self.max_memory, str):
            size(self.max_memory)
        if self.max_memory is not None and not memory.is_measurable():
            raise ValueError("max_memory: the memory of a process cannot be read here: pip install psutil")

    @property
    def names(self) -> tuple[str, ...]:
        """The queues as a worker takes them."""
        return (self.queues,) if isinstance(self.queues, str) else tuple(self.queues)

    @property
    def weights(self) -> dict[str, int]:
        """The shares of the queues, none where they come in their order."""
        return self.queues if isinstance(self.queues, dict) else {}

    @property
    def limits(self) -> Limits | None:
        """None if there are none."""
        most = size(self.max_memory) if isinstance(self.max_memory, str) else self.max_memory
        limits = Limits(max_jobs=self.max_jobs, max_age=self.max_age, max_memory=most)
        return None if limits == Limits() else limits


class DispatcherPlan(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="dispatcher", tag_field="kind"
):
    """A process that looks after the queue. Jobs whose time has come are made ready ``batch_size`` at a time."""

    kind: ClassVar[str] = "dispatcher"

    polling_interval: Positive = 1.0
    batch_size: Count = 500


class SchedulerPlan(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="scheduler", tag_field="kind"
):
    """A process that enqueues recurring jobs."""

    kind: ClassVar[str] = "scheduler"


class GatePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gate", tag_field="kind"):
    """A process that lets jobs through to a broker, where the configuration has a gate."""

    kind: ClassVar[str] = "gate"

    polling_interval: Positive = 0.1


Post = WorkerPlan | DispatcherPlan | SchedulerPlan | GatePlan


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``config/queue.yml`` says. ``scheduler``: recurring jobs are enqueued here, by a process of their own."""

    workers: tuple[WorkerPlan, ...] = ()
    gates: tuple[GatePlan, ...] = ()
    dispatchers: tuple[DispatcherPlan, ...] = ()
    scheduler: bool = True

    @property
    def is_empty(self) -> bool:
        return not self.posts()

    @classmethod
    def of(cls, options: WorkOptions, processes: int) -> Plan:
        """``processes`` alike, and a dispatcher."""
        worker = WorkerPlan(
            queues=dict(options.weights) or options.queues,
            threads=options.threads,
            processes=processes,
            polling_interval=options.polling_interval,
        )
        return cls(workers=(worker,), dispatchers=(DispatcherPlan(),))

    @classmethod
    def of_gates(cls, options: WorkOptions, processes: int) -> Plan:
        """The same with gates, of which one is at work at a time."""
        gates = (GatePlan(polling_interval=options.polling_interval),) * processes
        return cls(gates=gates, dispatchers=(DispatcherPlan(),))

    def posts(self) -> list[Post]:
        """What each single process does."""
        workers = [worker for worker in self.workers for _ in range(_count(worker.processes))]
        return [*self.dispatchers, *([SchedulerPlan()] if self.scheduler else []), *self.gates, *workers]


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def size(text: str) -> int:
    """``"512MB"`` in bytes; ``ValueError`` if it is no such text."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'max_memory: {text!r} is no amount of memory: write bytes, or as in "512MB" or "1.5GiB"')
    return int(float(found[1]) * UNITS[found[2].upper()])


def _count(processes: int | str) -> int:
    return processes if isinstance(processes, int) else processors()
