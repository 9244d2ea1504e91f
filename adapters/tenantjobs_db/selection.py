"""Which queues a worker serves, and in which order."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tenantjobs.errors import ConfigurationError


class Selection:
    """Queues in order: exact names, prefixes (``mail*``), or ``*`` alone for all. ConfigurationError for anything else.

    A queue comes before those behind it in the list. The queues of one wildcard take turns.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        self._patterns = _checked(queues)
        self._last_served: dict[str, str] = {}

    def in_turn(self, queues: Sequence[str]) -> list[str]:
        """Those of ``queues`` that are served, in the order of this claim."""
        chosen: dict[str, None] = {}
        for pattern in self._patterns:
            last = self._last_served.get(pattern, "")
            matching = sorted(
                (name for name in queues if _matches(pattern, name)), key=lambda name: (name <= last, name)
            )
            chosen.update(dict.fromkeys(matching))
        return list(chosen)

    def served(self, queue: str) -> None:
        """The queue had its turn: the others of its wildcard come first now."""
        for pattern in self._patterns:
            if _matches(pattern, queue):
                self._last_served[pattern] = queue


def _matches(pattern: str, queue: str) -> bool:
    return queue.startswith(pattern[:-1]) if pattern.endswith("*") else queue == pattern


def _checked(queues: Sequence[str]) -> tuple[str, ...]:
    if isinstance(queues, str):
        queues = [queues]
    names = [name.strip() for entry in queues for name in entry.split(",") if name.strip()]
    if not names:
        raise ConfigurationError('a worker needs queues to serve: write ["*"] for all of them')
    if any("," in entry for entry in queues):
        raise ConfigurationError(f"queues {', '.join(map(repr, queues))}: a list is wanted: write {json.dumps(names)}")
    if "*" in names and len(names) > 1:
        others = [name for name in names if name != "*"]
        raise ConfigurationError(
            f'queues {json.dumps(names)}: "*" beside other names would undo their order: write ["*"], or '
            f"{json.dumps(others)}"
        )
    for name in names:
        if "*" in name[:-1]:
            raise ConfigurationError(
                f'queue {name!r}: a "*" stands at the end of a prefix ("mail*") or alone, nowhere else'
            )
    return tuple(names)
