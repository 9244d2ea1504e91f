"""The time by which jobs are due. Tests move it; nobody else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_moved = timedelta()


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC) + _moved


def move(by: timedelta) -> None:
    """Make ``now()`` later by so much, or earlier."""
    global _moved
    _moved += by


def put_right() -> None:
    """Undo every move."""
    global _moved
    _moved = timedelta()
