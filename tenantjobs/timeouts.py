"""The end of a job's time, raised inside of it.

In the main thread an alarm does it, which also ends a system call that blocks. In any other thread the interpreter
does it between two bytecodes: a call that blocks in C returns first. Where neither can be, as in a greenlet, the job
runs to its end and counts as out of time then.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

from tenantjobs.errors import JobTimeout


class TimeUp(BaseException):
    """The job's time is over. It becomes a ``JobTimeout`` outside of the job, out of reach of its ``except``."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A block that ``TimeUp`` ends after ``seconds``; also at its end, if what was raised in it has been swallowed."""
    limit = _Alarm(seconds) if _may_set_alarm(seconds) else _ThreadLimit(seconds)
    try:
        limit.start()
        yield
    finally:
        limit.stop()
    if limit.passed:
        raise TimeUp


def timeout_of(job: str, seconds: float) -> JobTimeout:
    """What handlers and callers get to see."""
    return JobTimeout(f"job {job} ran longer than its timeout of {seconds:g} s")


def _may_set_alarm(seconds: float) -> bool:
    """Whether this is the main thread, and the one alarm that a process has is set for later, if at all."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        return False
    other = signal.getitimer(signal.ITIMER_REAL)[0]
    return other == 0 or other > seconds


class _Alarm:
    """Another one's alarm, as RQ's, is put back as it would be by then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    def start(self) -> None:
        self._started = time.monotonic()
        self._handler = signal.signal(signal.SIGALRM, self._raise)
        self._other = signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def stop(self) -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, self._handler)
            delay, interval = self._other
            if delay:
                left = delay - (time.monotonic() - self._started)
                signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), interval)

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self.passed = True
        raise TimeUp


class _ThreadLimit:
    def __init__(self, seconds: float) -> None:
        self._thread = threading.get_ident()
        self._timer = threading.Timer(seconds, self._raise)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._over = False
        self.passed = False

    def start(self) -> None:
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
        if self.passed:
            _raise_in(self._thread, None)  # if it is still to come, it must not reach what runs here next

    def _raise(self) -> None:
        with self._lock:
            if not self._over:
                self.passed = True
                _raise_in(self._thread, TimeUp)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    # Loaded by whoever needs it; importing it here would cost every importer of tenantjobs.
    ctypes = import_module("ctypes")
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
