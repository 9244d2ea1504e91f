"""Enqueues that wait for the open transaction, with ``install(after_commit=True)``.

Job, id, scope and arguments are those of the call. What RQ enqueues of itself - retries, repeats, dependents - goes
through a pipeline, and so does what a user hands one to: both leave when that pipeline is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from redis.client import Pipeline
from rq.group import Group
from rq.job import Job
from rq.queue import EnqueueData, Queue

from tenantjobs import transaction
from tenantjobs_rq import covering, policy

T = TypeVar("T")


def cover() -> None:
    """Every enqueue of this process from now on."""
    covering.cover(Queue, "enqueue_job", _one)
    covering.cover(Queue, "schedule_job", _one)
    covering.cover(Queue, "enqueue_many", _many)
    covering.cover(Group, "enqueue_many", _group)


def _one(original: Callable[..., Job]) -> Callable[..., Job]:
    """``Queue.enqueue_job`` or ``schedule_job``: all that enqueue a single job end in one of them."""

    @wraps(original)
    def enqueue(queue: Queue, job: Job, *args: Any, **kwargs: Any) -> Job:
        pipeline = kwargs.get("pipeline") or next((given for given in args if isinstance(given, Pipeline)), None)
        if pipeline is not None or not policy.after_commit():
            return original(queue, job, *args, **kwargs)
        job.origin = queue.name
        job.data  # noqa: B018  # serialized now: the arguments are those of the call
        return _on_commit(lambda: original(queue, job, *args, **kwargs), job)

    return enqueue


def _many(original: Callable[..., list[Job]]) -> Callable[..., list[Job]]:
    @wraps(original)
    def enqueue_many(
        queue: Queue, job_datas: Iterable[EnqueueData], pipeline: Pipeline | None = None, group_id: str | None = None
    ) -> list[Job]:
        if pipeline is not None or not policy.after_commit():
            return original(queue, job_datas, pipeline=pipeline, group_id=group_id)
        fields = [data._asdict() for data in job_datas]
        fronts = [bool(each.pop("at_front")) for each in fields]
        jobs = [queue.create_job(**each, group_id=group_id) for each in fields]
        if len({job.id for job in jobs}) < len(jobs):  # as RQ 3 says; at the commit nobody could hear it
            raise ValueError("a job ID appears more than once in enqueue_many()")
        for job in jobs:
            job.data  # noqa: B018  # as above
        return _on_commit(lambda: _send(queue, jobs, fronts), jobs)

    return enqueue_many


def _group(original: Callable[..., list[Job]]) -> Callable[..., list[Job]]:
    @wraps(original)
    def enqueue_many(
        group: Group, queue: Queue, job_datas: Iterable[EnqueueData], pipeline: Pipeline | None = None
    ) -> list[Job]:
        if pipeline is not None or not policy.after_commit():
            return original(group, queue, job_datas, pipeline=pipeline)
        jobs = queue.enqueue_many(job_datas, group_id=group.name)
        _on_commit(lambda: _join(group, jobs), None)
        return jobs

    return enqueue_many


def _on_commit(enqueue: Callable[[], T], promised: T) -> T:
    """What ``enqueue`` gives if there is nothing to wait for, else what was promised."""
    given: list[T] = []
    transaction.on_commit(lambda: given.append(enqueue()))
    return given[0] if given else promised


def _send(queue: Queue, jobs: list[Job], fronts: list[bool]) -> list[Job]:
    """In one round trip, save for those with dependencies, which have to be looked at one by one."""
    with queue.connection.pipeline() as pipeline:
        pipeline.sadd(Queue.redis_queues_keys, queue.key)
        for job, at_front in zip(jobs, fronts, strict=True):
            if not job._dependency_ids:
                queue._enqueue_job(job, pipeline=pipeline, at_front=at_front)
        pipeline.execute()
    for job, at_front in zip(jobs, fronts, strict=True):
        if job._dependency_ids:
            queue.enqueue_job(job, at_front=at_front or bool(job.enqueue_at_front))
    return jobs


def _join(group: Group, jobs: list[Job]) -> None:
    with group.connection.pipeline() as pipeline:
        group._add_jobs(jobs, pipeline=pipeline)
        pipeline.execute()
