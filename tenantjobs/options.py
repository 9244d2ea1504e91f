"""What one call says about its job: when it is due, on which queue, how urgent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from tenantjobs import clock, runtime
from tenantjobs.errors import ConfigurationError

PRIORITIES = range(-(2**31), 2**31)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What ``set(...)`` overrides for one call."""

    queue: str | None = None
    priority: int | None = None
    due_at: datetime | None = None
    wait: timedelta | None = None  # what ``due_at`` was made of, for a job that waits for something else first


NO_OPTIONS = Options()


def options(
    before: Options = NO_OPTIONS,
    /,
    *,
    wait: float | timedelta | None = None,
    wait_until: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Options:
    """What ``set(...)`` was given, checked, over what one ``before`` chose; ``wait_until`` wins over ``wait``."""
    check_options(queue, priority)
    for name, moment, kinds in (("wait", wait, (int, float, timedelta)), ("wait_until", wait_until, (datetime,))):
        if moment is not None and not isinstance(moment, kinds):
            raise ConfigurationError(f"{name}={moment!r}: {' or '.join(kind.__name__ for kind in kinds)} is wanted")
    due_at, waiting = before.due_at, before.wait
    if wait_until is not None:
        if wait_until.tzinfo is None:
            raise ConfigurationError(
                f"wait_until={wait_until!r} has no time zone, so it is no moment: give it one, as in "
                f"datetime(..., tzinfo=UTC)"
            )
        due_at, waiting = wait_until.astimezone(UTC), None
    elif wait is not None:
        waiting = wait if isinstance(wait, timedelta) else timedelta(seconds=wait)
        due_at = clock.now() + waiting
    return Options(
        queue=before.queue if queue is None else queue,
        priority=before.priority if priority is None else priority,
        due_at=due_at,
        wait=waiting,
    )


def check_options(queue: object, priority: object) -> None:
    """ConfigurationError for a queue or a priority that no queue could store. None is left to the job."""
    if queue is not None and not (isinstance(queue, str) and queue and _is_text(queue)):
        raise ConfigurationError(f"queue={queue!r}: a queue's name is a text that is not empty")
    # A range is asked for numbers only: it would look for anything else one by one.
    if priority is not None and not (type(priority) is int and priority in PRIORITIES):
        raise ConfigurationError(f"priority={priority!r}: a whole number of 32 bits is wanted; lower runs sooner")


def queue_name(queue: str) -> str:
    """The name of ``queue`` as workers know it, with the configured ``queue_prefix``."""
    return runtime.settings().queue_prefix + queue


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
