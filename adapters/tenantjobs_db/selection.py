"""Which queues a worker serves, and in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tenantjobs.errors import ConfigurationError

HEAVIEST = 1000


class Selection:
    """Queues in order: exact names, prefixes (``mail*``), or ``*`` alone for all. ConfigurationError for anything else.

    A queue comes before those behind it in the list. The queues of one wildcard take turns. With ``weights``, one for
    each entry, none comes before another: of the jobs that are claimed, each has its share while it has work.
    """

    def __init__(self, queues: Sequence[str], weights: Mapping[str, int] | None = None) -> None:
        self._patterns = _checked(queues)
        self._last_served: dict[str, str] = {}
        self._weighing = Weighing(_checked_weights(weights, self._patterns)) if weights else None

    def in_turn(self, queues: Sequence[str]) -> list[str]:
        """Those of ``queues`` that are served, in the order of this claim."""
        chosen: dict[str, str] = {}
        for pattern in self._patterns:
            last = self._last_served.get(pattern, "")
            matching = sorted(
                (name for name in queues if matches(pattern, name)), key=lambda name: (name <= last, name)
            )
            for name in matching:
                chosen.setdefault(name, pattern)
        if self._weighing is None:
            return list(chosen)
        order = self._weighing.order(set(chosen.values()))
        return sorted(chosen, key=lambda name: order.index(chosen[name]))  # stable: within an entry as they were

    def served(self, queue: str, jobs: int = 1) -> None:
        """The queue had its turn, and gave so many jobs: the others of its wildcard come first now."""
        matching = [pattern for pattern in self._patterns if matches(pattern, queue)]
        for pattern in matching:
            self._last_served[pattern] = queue
        if self._weighing is not None and matching:
            self._weighing.served(matching[0], jobs)


class Weighing:
    """Who has had the least for its weight comes first. Who had no work in between has saved nothing."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        self._had = dict.fromkeys(weights, 0.0)
        self._active: set[str] = set()

    def order(self, active: set[str]) -> list[str]:
        """``active``, who have work, in the order of this claim."""
        least = min((self._had[each] for each in active & self._active), default=max(self._had.values()))
        for newcomer in active - self._active:
            self._had[newcomer] = max(self._had[newcomer], least)
        self._active = active
        places = list(self._weights)
        return sorted(active, key=lambda each: (self._had[each], places.index(each)))

    def served(self, entry: str, jobs: int) -> None:
        self._had[entry] += jobs / self._weights[entry]


def matches(pattern: str, queue: str) -> bool:
    """Whether an entry of the list, a name or a prefix with its star, means the queue."""
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


def _checked_weights(weights: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    if list(weights) != list(names):
        raise ConfigurationError(f"queues {json.dumps(list(names))}: a weight is wanted for each of them, and no other")
    for name, weight in weights.items():
        if type(weight) is not int or not 1 <= weight <= HEAVIEST:
            raise ConfigurationError(
                f"queue {name!r} has the weight {weight!r}: a whole number from 1 to {HEAVIEST} is wanted; leave a "
                f"queue out that is not to be served"
            )
    return dict(weights)
