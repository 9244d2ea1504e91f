"""How far a job has come, for people who wait for it."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import msgspec

from tenantjobs.errors import ConfigurationError


class Progress(msgspec.Struct, frozen=True):
    """So much is done, of ``total`` if that is known."""

    done: float
    total: float | None = None

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the total is not known."""
        return None if self.total is None else min(self.done / self.total, 1.0) if self.total else 1.0


@runtime_checkable
class TellsProgress(Protocol):
    """A delivery by a queue that keeps the progress of its jobs."""

    def tell(self, progress: Progress) -> None:
        """Take note of it, without waiting for anything: it is written soon, and only the last of many."""
        ...


@runtime_checkable
class ShowsProgress(Protocol):
    """A queue that keeps the progress of its jobs."""

    def progress(self, job_id: str) -> Progress | None:
        """What the job has told of itself; None if that is nothing."""
        ...


def checked(done: object, total: object) -> Progress:
    """The progress; ``ConfigurationError`` for what is no number from 0 on."""
    for name, value in (("done", done), ("total", total)):
        if value is None and name == "total":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ConfigurationError(f"progress({name}={value!r}): a number from 0 on is wanted")
    return Progress(done, total)  # type: ignore[arg-type]  # numbers by now
