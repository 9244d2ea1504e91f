"""How long a job waits for its next attempt."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

from tenantjobs.errors import ConfigurationError
from tenantjobs.parameters import is_async, positionals, required_positionals

Growing = Literal["polynomially_longer", "exponentially_longer"]
Wait = float | timedelta | Growing | Sequence[float | timedelta] | Callable[..., "float | timedelta | None"]

LONGEST = 10 * 365 * 86_400.0  # seconds; a wait that grows without end stays a moment that a database can store


class Delay:
    """A declared ``wait`` with its ``jitter``, checked; ConfigurationError for anything that is none."""

    def __init__(self, wait: Wait, jitter: float) -> None:
        self._wait = _checked(wait)
        self._jitter = _checked_share(jitter)

    def seconds(self, executions: int, error: BaseException) -> float:
        """Seconds until the next attempt, after ``executions`` of them."""
        return min(self._seconds(executions, error), LONGEST)

    def _seconds(self, executions: int, error: BaseException) -> float:
        wait = self._wait
        if callable(wait):
            given = (executions, error) if required_positionals(wait) > 1 else (executions,)
            result = wait(*given)
            return 0.0 if result is None else _checked_seconds(result)
        if isinstance(wait, str):
            if wait == "exponentially_longer":
                return 3.0 * 2.0 ** min(executions - 1, 64)
            base = float(executions**4)
            return base + self._random_share(base) + 2
        if isinstance(wait, tuple):
            return float(wait[min(executions, len(wait)) - 1])
        return wait + self._random_share(wait)

    def _random_share(self, base: float) -> float:
        # A share in [0, 1). `random` would bring every importer of tenantjobs a hash library.
        share = int.from_bytes(os.urandom(4)) / 2**32
        return share * base * self._jitter


def _checked(wait: Wait) -> float | str | tuple[float, ...] | Callable[..., Any]:
    if isinstance(wait, str):
        if wait not in ("polynomially_longer", "exponentially_longer"):
            raise ConfigurationError(
                f"retry_on(wait={wait!r}): 'polynomially_longer' or 'exponentially_longer' is wanted"
            )
        return wait
    if isinstance(wait, list | tuple):
        if not wait:
            raise ConfigurationError("retry_on(wait=[]): the list of waits is empty")
        return tuple(_checked_seconds(each) for each in wait)
    if callable(wait):
        if not 1 <= positionals(wait) <= 3 or required_positionals(wait) > 2:
            raise ConfigurationError(f"retry_on(wait={wait!r}): it is called with (executions) or (executions, error)")
        if is_async(wait):
            raise ConfigurationError(f"retry_on(wait={wait!r}): nobody awaits it; declare it with `def`")
        return wait
    return _checked_seconds(wait)


def _checked_seconds(wait: object) -> float:
    if isinstance(wait, timedelta) and wait >= timedelta(0):
        return wait.total_seconds()
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not math.isfinite(wait) or wait < 0:
        raise ConfigurationError(
            f"retry_on(wait={wait!r}): seconds from 0 on, a timedelta, 'polynomially_longer', 'exponentially_longer', "
            f"a list or a callable is wanted"
        )
    return float(wait)


def _checked_share(jitter: object) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise ConfigurationError(f"retry_on(jitter={jitter!r}): a share from 0 to 1 is wanted")
    return float(jitter)
