"""What ``tenantjobs check`` looks at besides the configuration: whoever has something to find registers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Check = Callable[[], list[str]]


def register(check: Check) -> None:
    """Let ``check`` add its findings, one text each; again it changes nothing."""
    if check not in _checks:
        _checks.append(check)


def problems() -> Iterator[str]:
    """What all of them find. One that raises is a finding itself."""
    for check in _checks:
        try:
            yield from check()
        except Exception as error:  # a database that is down, most of all
            yield f"{check.__module__} could not be checked: {type(error).__name__}: {error}"


_checks: list[Check] = []
