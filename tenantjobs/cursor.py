"""The place inside of a step that is not done yet."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from tenantjobs.colours import drive
from tenantjobs.course import Course
from tenantjobs.errors import StepError

T = TypeVar("T")


class _Place(Generic[T]):
    def __init__(self, course: Course, step: str, start: Any) -> None:
        self._course = course
        self._step = step
        self._value: T = course.cursor(step, start)

    @property
    def value(self) -> T:
        """Where the step is to go on: what was set last, in this execution or in one before it; at first its start."""
        return self._value

    def _successor(self, past: T | None) -> Any:
        value: Any = self._value if past is None else past
        if type(value) is not int:
            raise StepError(
                f"{self._course}: the cursor of step {self._step!r} is {value!r:.80}, and only a whole number has a "
                f"next one: set it to the value that is wanted"
            )
        return value + 1

    def __repr__(self) -> str:
        return f"<cursor of step {self._step} at {self._value!r:.80}>"


class Cursor(_Place[T]):
    """The place inside of a step. Moving it is a checkpoint: what the job has done so far is committed with it.

    If the worker wants to stop, the job is interrupted there, and goes on from ``value`` in another execution.
    """

    def set(self, value: T) -> None:
        """Go on from ``value``, a plain value that can travel, if the job is resumed."""
        drive(self._course.move_cursor(self._step, value))
        self._value = value

    def advance(self, *, past: T | None = None) -> None:
        """The same with the whole number after ``past``, or after the value that it has."""
        self.set(self._successor(past))

    def checkpoint(self) -> None:
        """Commit what the job has done so far, and leave the cursor where it is."""
        drive(self._course.checkpoint(self._step))


class AsyncCursor(_Place[T]):
    """The same in an async job: moving it is awaited."""

    async def set(self, value: T) -> None:
        """Go on from ``value``, a plain value that can travel, if the job is resumed."""
        await self._course.move_cursor(self._step, value)
        self._value = value

    async def advance(self, *, past: T | None = None) -> None:
        """The same with the whole number after ``past``, or after the value that it has."""
        await self.set(self._successor(past))

    async def checkpoint(self) -> None:
        """Commit what the job has done so far, and leave the cursor where it is."""
        await self._course.checkpoint(self._step)
