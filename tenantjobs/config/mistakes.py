"""One error for all mistakes: each with its place, and with the name that was probably meant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import itemgetter

from tenantjobs.config.settings import Origin
from tenantjobs.errors import ConfigurationError
from tenantjobs.spelling import nearest


class Misconfigured(ConfigurationError):
    """The configuration is wrong. ``mistakes`` has one line for each thing to put right."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        title = "a mistake" if count == 1 else f"{count} mistakes"
        super().__init__("\n  ".join((f"{title} in the configuration of tenantjobs:", *self.mistakes)))


class Mistakes:
    """Gathers mistakes, so that all of them are reported together."""

    def __init__(self) -> None:
        self._found: list[tuple[float, str]] = []

    def add(self, place: Origin | str, what: str) -> None:
        line = None if isinstance(place, str) else place.line
        self._found.append((math.inf if line is None else line, f"{place}: {what}"))

    def add_value(self, origin: Origin, key: str, what: str) -> None:
        """A wrong value: in a file its key is named too, elsewhere the place names it."""
        self.add(origin, what if origin.line is None else f"{key}: {what}")

    def take(self, error: Misconfigured) -> None:
        self._found.extend((0, mistake) for mistake in error.mistakes)

    def __bool__(self) -> bool:
        return bool(self._found)

    def found(self) -> tuple[str, ...]:
        """One line for each: those of the file first, by line."""
        return tuple(dict.fromkeys(mistake for _, mistake in sorted(self._found, key=itemgetter(0))))

    def check(self) -> None:
        """Raise ``Misconfigured`` if there are any."""
        if self._found:
            raise Misconfigured(self.found())


def meant(name: str, names: Iterable[str]) -> str:
    """``; did you mean X?`` if there is a name near enough, else ``; known are X, Y``."""
    names = sorted(names)
    found = nearest(name, names)
    if found is not None:
        return f"; did you mean {found}?"
    return f"; known are {', '.join(names)}" if names else ""
