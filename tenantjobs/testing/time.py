"""A clock that tests move: what waits for its time becomes due, without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from tenantjobs import clock
from tenantjobs.errors import ConfigurationError


class Clock:
    """The clock of jobs in this process: ``wait``, retries and what is due go by it. Databases have their own."""

    @property
    def now(self) -> datetime:
        return clock.now()

    def move(self, by: timedelta | float) -> None:
        """Go forward by a timedelta, or by seconds; backward if it is negative."""
        clock.move(by if isinstance(by, timedelta) else timedelta(seconds=by))

    def move_to(self, moment: datetime) -> None:
        """Make it ``moment`` now; from there on the clock runs."""
        if moment.tzinfo is None:
            raise ConfigurationError(
                f"move_to({moment!r}) has no time zone: give it one, as in datetime(..., tzinfo=UTC)"
            )
        clock.move(moment - clock.now())


@contextmanager
def movable_clock() -> Iterator[Clock]:
    """A clock to move, put right at the end of the block. The plugin's fixture ``tenantjobs_clock`` is this."""
    try:
        yield Clock()
    finally:
        clock.put_right()
