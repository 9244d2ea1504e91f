"""A worker that wants to stop when a job has come to a certain place, as tests ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from tenantjobs.course import Course, current_course
from tenantjobs.running import current_job
from tenantjobs.testing.choice import name_of
from tenantjobs.testing.memory import stopping_where


def interrupt_job_during_step(job: Any, step: str, *, cursor: Any = msgspec.UNSET) -> AbstractContextManager[None]:
    """A block in which ``job`` is interrupted once inside of ``step``: at the checkpoint that keeps ``cursor``.

    Without a cursor, at the first checkpoint inside. The job waits to be resumed, as after the stop of a worker; an
    AssertionError at the end of the block if it never came there.
    """

    def is_there(course: Course) -> bool:
        return course.is_in(step) and (cursor is msgspec.UNSET or course.cursor(step, msgspec.UNSET) == cursor)

    at = "" if cursor is msgspec.UNSET else f", with the cursor at {cursor!r}"
    return _interrupting(name_of(job), f"inside of its step {step!r}{at}", is_there)


def interrupt_job_after_step(job: Any, step: str) -> AbstractContextManager[None]:
    """A block in which ``job`` is interrupted once between ``step`` and the one after it.

    After the last step there is no checkpoint. The rest is as for ``interrupt_job_during_step``.
    """

    def is_there(course: Course) -> bool:
        return course.done[-1:] == (step,)

    return _interrupting(name_of(job), f"after its step {step!r}", is_there)


@contextmanager
def _interrupting(name: str, where: str, is_there: Callable[[Course], bool]) -> Iterator[None]:
    interrupted = False

    def stops() -> bool:
        nonlocal interrupted
        job, was = current_job(), interrupted
        if job is not None and job.name == name and not was:
            interrupted = is_there(current_course("the helper of this test"))
        return interrupted and not was

    with stopping_where(stops):
        yield
    if not interrupted:
        raise AssertionError(f"job {name} came to no checkpoint {where}: it was not interrupted")
