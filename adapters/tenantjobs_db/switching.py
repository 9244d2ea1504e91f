"""How soon the threads of a worker's own process change, which is a setting of the interpreter."""

from __future__ import annotations

import sys

QUICK = 0.001  # seconds


class Switching:
    """Quick while very short jobs run one after another, as it was at other times.

    The worker's thread wants to go on several times in an exchange, each time for a moment, and waits for that long
    beside a job's thread that does not wait for anything. With several threads, changing more often costs more than it
    gains: some 5 % of what five of them compute. A process that has other work to do is left as it is (``allowed``).
    """

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._usual = sys.getswitchinterval()
        self._is_quick = False

    def be_quick(self, quick: bool) -> None:
        if self._allowed and quick != self._is_quick:
            self._is_quick = quick
            sys.setswitchinterval(min(QUICK, self._usual) if quick else self._usual)
