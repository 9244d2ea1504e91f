"""How every ``rq.job.Job`` carries the scope, whatever its class: the methods of the base class are wrapped in place.

A subclass alone would not do. ``Queue``, ``Job.fetch`` and the registries make plain jobs where nobody names a class,
and take a job of another class than theirs for an id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from rq.job import Job

from tenantjobs.carriage import KEY, Delivery
from tenantjobs.seal import NO_SCOPE
from tenantjobs.signer import configured
from tenantjobs_rq import covering, header, policy
from tenantjobs_rq.performing import NAME

HOW = (
    "enqueue it inside `with Current.set(tenant=...):`, inside `with Current.system('why'):` if it works for all of "
    "them, and an entry of cron with meta=tenantjobs_rq.meta()"
)


def cover() -> None:
    """Every job of this process from now on."""
    covering.cover(Job, "create", _create)
    covering.cover(Job, "to_dict", _to_dict)
    covering.cover(Job, "restore", _restore)
    covering.cover(Job, "perform", _perform)
    for name in ("success_callback", "failure_callback", "stopped_callback"):
        covering.cover(Job, name, _callback)


def delivery(job: Job) -> Delivery:
    """The block in which whatever belongs to this job happens."""
    carried = header.of(job)
    if carried is None and _is_ours(job):
        carried = NO_SCOPE
    return Delivery.of(carried, lambda: f"job {job.id} of queue {job.origin}", lambda: header.covered(job))


def _is_ours(job: Job) -> bool:
    """True for the native job that performs one of ours, whose envelope has the scope, and which has a door."""
    return job.func_name == NAME


def _create(original: Callable[..., Job]) -> Callable[..., Job]:
    @wraps(original)
    def create(cls: type[Job], *args: Any, **kwargs: Any) -> Job:
        job = original(cls, *args, **kwargs)
        if not _is_ours(job):
            header.capture(job)
        return job

    return create


def _to_dict(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @wraps(original)
    def to_dict(job: Job, *args: Any, **kwargs: Any) -> dict[str, Any]:
        fields = original(job, *args, **kwargs)
        carried = header.to_store(job)
        if carried is not None:
            fields[KEY] = carried
        return fields

    return to_dict


def _restore(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def restore(job: Job, raw_data: Any) -> Any:
        restored = original(job, raw_data)
        header.put(job, raw_data.get(KEY.encode(), raw_data.get(KEY)))
        return restored

    return restore


def _perform(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def perform(job: Job) -> Any:
        if _is_ours(job):
            return original(job)
        sealed = None if configured() is None else delivery(job)
        if sealed is not None:
            sealed.admit_seal()
        # Its module may be what says in which policy, and belongs to no tenant: it is imported before the scope.
        if str(job.func_name).rpartition(".")[0] not in sys.modules:
            job.func  # noqa: B018
        delivered = sealed or delivery(job)
        with delivered:
            delivered.admit(policy.tenancy(), HOW)
            return original(job)

    return perform


def _callback(original: Callable[[Job], Any]) -> Callable[[Job], Any]:
    """The callback of the user, in the scope of the job: RQ calls it before or after, and in the worker itself."""

    @wraps(original)
    def callback(job: Job) -> Any:
        if vars(job).get(f"_{original.__name__}_name") and delivery(job).forged is not None:
            return None  # what it names is not imported
        found = original(job)
        if found is None or iscoroutinefunction(found):  # which RQ refuses by its own name
            return found

        @wraps(found)
        def call(*args: Any, **kwargs: Any) -> Any:
            with delivery(job):
                return found(*args, **kwargs)

        return call

    return callback
