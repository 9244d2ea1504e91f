"""What a process of ``tenantjobs work`` is told by signals: stop, stop at once, and claim no more.

A process that is started by another is told to stop before it is up, if it has to be: the signals are blocked from its
start, held until there is somebody to obey, and come then.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Protocol

STOP = (signal.SIGTERM, signal.SIGINT)
HALT: signal.Signals | None = getattr(signal, "SIGQUIT", None)  # Windows has neither of these two
QUIET: signal.Signals | None = getattr(signal, "SIGTSTP", None)
ALL = frozenset(number for number in (*STOP, HALT, QUIET) if number is not None)

LOOK = 0.5  # seconds after which a wait for a signal begins anew

_held: list[int] = []


class Obeys(Protocol):
    """Who is told. The methods are called by a signal handler, and may be called more than once."""

    def stop(self) -> None:
        """Finish what runs, and end; a second time: end now."""
        ...

    def halt(self) -> None:
        """End now."""
        ...

    def quiet(self) -> None:
        """Begin nothing new."""
        ...


class Bell:
    """Rung by a signal handler, and waited for by the main thread."""

    def __init__(self) -> None:
        self.rung = False
        # SimpleQueue.put may be called in a signal handler, which Event.set may not.
        self._sound: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        self.rung = True
        self._sound.put(None)

    def wait(self) -> None:
        """Return once it is rung, or at once if it was.

        A signal that comes just before the main thread waits, while it gives way to another thread, does not end that
        wait: the handler runs when something else does. So no wait is without an end.
        """
        while not self.rung:
            with suppress(Empty):
                self._sound.get(timeout=LOOK)


@contextmanager
def obeyed(who: Obeys) -> Iterator[None]:
    """Pass signals on to ``who``, with those that were held so far. A thread that is not the main one gets none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        _pass_on(number, who)

    with _handled(on_signal):
        while _held:
            _pass_on(_held.pop(0), who)
        yield


@contextmanager
def blocked() -> Iterator[None]:
    """Let processes that are started in this block begin with the signals blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold() -> None:
    """Take what was blocked, and keep it for who will obey."""
    for number in ALL:
        signal.signal(number, lambda number, _frame: _held.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)


@contextmanager
def _handled(on_signal: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, on_signal) for number in ALL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pass_on(number: int, who: Obeys) -> None:
    if number in STOP:
        who.stop()
    elif number == HALT:
        who.halt()
    else:
        who.quiet()
