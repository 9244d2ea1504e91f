"""Answers that hold for a moment, so that what many jobs ask in a second is asked once."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

SIZE = 1024
SECONDS = 1.0


class Lately:
    """By what was asked, of any thread; those that were not asked for longest go first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, object]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, asked: str) -> object:
        """The answer of the last second, or None."""
        with self._lock:
            moment, found = self._kept.get(asked, (0.0, None))
            if found is None or time.monotonic() - moment > SECONDS:
                return None
            self._kept.move_to_end(asked)
            return found

    def keep(self, asked: str, answer: object) -> None:
        with self._lock:
            self._kept[asked] = (time.monotonic(), answer)
            self._kept.move_to_end(asked)
            if len(self._kept) > SIZE:
                self._kept.popitem(last=False)
