"""How long to leave a database alone that does not answer."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that grow from ``shortest`` to ``longest`` seconds, with jitter."""

    def __init__(self, *, shortest: float = 0.1, longest: float = 5.0) -> None:
        self._shortest = shortest
        self._longest = longest
        self._pause = shortest

    def next(self) -> float:
        pause = min(self._pause, self._longest) * random.uniform(0.5, 1.0)
        self._pause = min(self._pause * 2, self._longest)
        return pause

    def reset(self) -> None:
        """It has answered."""
        self._pause = self._shortest
