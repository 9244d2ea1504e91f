"""Which processes a supervisor runs."""

from __future__ import annotations

import os
from typing import Annotated, ClassVar, Literal

import msgspec

from tenantjobs.adapter import WorkOptions
from tenantjobs_db.recycling import Limits
from tenantjobs_db.settings import Positive

Count = Annotated[int, msgspec.Meta(ge=1)]


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker", tag_field="kind"):
    """Some worker processes of one kind; times are seconds.

    ``max_jobs``, ``max_age`` and ``max_memory`` (bytes, or ``"512MB"``) say when one of them makes room for another.
    """

    kind: ClassVar[str] = "worker"

    queues: tuple[str, ...] = ("*",)
    threads: Count = 3
    processes: Count | Literal["auto"] = 1
    polling_interval: Positive = 0.1
    max_jobs: Count | None = None
    max_age: Positive | None = None
    max_memory: Count | None = None

    @property
    def limits(self) -> Limits | None:
        """None if there are none."""
        limits = Limits(max_jobs=self.max_jobs, max_age=self.max_age, max_memory=self.max_memory)
        return None if limits == Limits() else limits


class DispatcherPlan(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="dispatcher", tag_field="kind"
):
    """A process that looks after the queue. Jobs whose time has come are made ready ``batch_size`` at a time."""

    kind: ClassVar[str] = "dispatcher"

    polling_interval: Positive = 1.0
    batch_size: Count = 500


Post = WorkerPlan | DispatcherPlan


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``config/queue.yml`` says."""

    workers: tuple[WorkerPlan, ...] = ()
    dispatchers: tuple[DispatcherPlan, ...] = ()

    @classmethod
    def of(cls, options: WorkOptions, processes: int) -> Plan:
        """``processes`` alike, and a dispatcher."""
        worker = WorkerPlan(
            queues=options.queues,
            threads=options.threads,
            processes=processes,
            polling_interval=options.polling_interval,
        )
        return cls(workers=(worker,), dispatchers=(DispatcherPlan(),))

    def posts(self) -> list[Post]:
        """What each single process does."""
        workers = [worker for worker in self.workers for _ in range(_count(worker.processes))]
        return [*self.dispatchers, *workers]


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count(processes: int | str) -> int:
    return processes if isinstance(processes, int) else processors()
