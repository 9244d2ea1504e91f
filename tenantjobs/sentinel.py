"""The leak sentinel: watches jobs for what crosses from one tenant to another, or stays behind when they end.

The pytest plugin fails the test that ran such a job. At run time, ``with sentinel.watch("warn"):`` around a worker or
a request logs what is found, ``"raise"`` stops it, and ``"count"`` only counts.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Literal, Protocol, get_args

import msgspec

from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, TenancyError
from tenantjobs.snapshot import Snapshot

logger = logging.getLogger("tenantjobs.sentinel")

Kind = Literal["foreign row", "unscoped query", "context", "connection state", "open transaction"]
OnLeak = Literal["warn", "raise", "count"]


class TenantLeak(TenancyError):
    """A job touched what is another tenant's, or left something behind; raised by ``watch("raise")``."""


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went wrong: in which job, by which statement, at which line of the application."""

    kind: Kind
    what: str
    job: str
    tenant_id: str | None
    statement: str | None = None
    place: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.kind}: job {self.job} of tenant {self.tenant_id} {self.what}"]
        if self.place:
            lines.append(f"  at {self.place}")
        if self.statement is not None:
            lines.append("  " + " ".join(self.statement.split()))
        return "\n".join(lines)


class Watched(Protocol):
    """The job that is watched: one of ours, or a native one under carriage."""

    @property
    def name(self) -> str: ...
    @property
    def tenant_id(self) -> str | None: ...


class Native(msgspec.Struct, frozen=True):
    """A native job of another queue."""

    name: str
    tenant_id: str | None


class Detector(Protocol):
    """What looks at one system on behalf of the sentinel, and calls ``found`` for what it sees."""

    def listen(self) -> None:
        """Look from now on; called when the first sentinel begins to watch."""
        ...

    def performing(self, job: Watched, /) -> AbstractContextManager[None]:
        """Around one attempt: what it leaves behind is seen at the end."""
        ...


class Sentinel:
    """What has been seen since ``watch``: ``leaks`` in order, ``counts`` by kind. Watching ends with the block."""

    def __init__(self, on_leak: OnLeak = "warn") -> None:
        if on_leak not in get_args(OnLeak):
            raise ConfigurationError(f"watch({on_leak!r}): one of {', '.join(get_args(OnLeak))} is wanted")
        self.on_leak = on_leak
        self.counts: Counter[Kind] = Counter()
        self.leaks: list[Leak] = []

    def __enter__(self) -> Sentinel:
        _start(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _stop(self)

    def take(self, leak: Leak) -> None:
        self.counts[leak.kind] += 1
        if self.on_leak == "count":
            return  # a count may run for months, and must not grow
        self.leaks.append(leak)
        if self.on_leak == "raise":
            raise TenantLeak(str(leak))
        logger.warning("%s", leak)


def watch(on_leak: OnLeak = "warn") -> Sentinel:
    """A context manager that watches every job of this process, in all threads, while its block runs.

    ``"raise"``: ``TenantLeak`` stops a statement before it runs; what a job left behind is raised at its end, when its
    work has been committed.
    """
    return Sentinel(on_leak)


def register(detector: Detector) -> None:
    """Let the sentinel look at one more system."""
    if detector not in _detectors:
        _detectors.append(detector)
        if watchers:
            detector.listen()


def watching() -> Watched | None:
    """The job that is being watched here; None where no sentinel watches, or no job runs."""
    return _attempt.get() if watchers else None


def found(kind: Kind, what: str, *, statement: str | None = None, place: str | None = None) -> None:
    """Tell every sentinel of a leak of the job that runs here; ``TenantLeak`` if one of them raises."""
    job = _attempt.get()
    if job is None:
        return
    leak = Leak(
        kind=kind,
        what=what,
        job=job.name,
        tenant_id=job.tenant_id,
        statement=statement,
        place=place_in_application() if place is None else place,
    )
    for sentinel in list(watchers):
        sentinel.take(leak)


def performing(job: Watched) -> AbstractContextManager[None]:
    """Around one attempt of ``job``, outside of its scope and its session."""
    return _watched(job) if watchers else _UNWATCHED


def place_in_application() -> str | None:
    """``file:line`` of the nearest code that is neither ours nor a library's."""
    for frame in _callers():
        if not _is_a_librarys(frame):
            path = frame.f_code.co_filename
            return f"{os.path.relpath(path) if path.startswith(os.getcwd()) else path}:{frame.f_lineno}"
    return None


@contextmanager
def _watched(job: Watched) -> Iterator[None]:
    before = Current.capture()
    token = _attempt.set(job)
    try:
        with ExitStack() as stack:
            for detector in _detectors:
                stack.enter_context(detector.performing(job))
            yield
        after = Current.capture()
        if after != before:
            found("context", f"left a scope open: {_said(after)} where {_said(before)} was before it", place="")
    finally:
        _attempt.reset(token)


def _start(sentinel: Sentinel) -> None:
    with _lock:
        if not watchers:
            for detector in _detectors:
                detector.listen()
        watchers.append(sentinel)


def _stop(sentinel: Sentinel) -> None:
    with _lock:
        watchers[:] = [other for other in watchers if other is not sentinel]


def _is_a_librarys(frame: FrameType) -> bool:
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    path = frame.f_code.co_filename
    return (
        top.startswith("tenantjobs")
        or top in sys.stdlib_module_names
        or path.startswith("<")
        or "site-packages" in path
        or "dist-packages" in path
    )


def _callers() -> Iterator[FrameType]:
    yield from _outwards(sys._getframe(1))
    # SQLAlchemy's asyncio runs its synchronous half in a greenlet, whose caller waits in the parent.
    greenlets = sys.modules.get("greenlet")
    greenlet = None if greenlets is None else greenlets.getcurrent().parent
    while greenlet is not None:
        yield from _outwards(greenlet.gr_frame)
        greenlet = greenlet.parent


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _said(snapshot: Snapshot) -> str:
    return f"tenant {snapshot.tenant_id}" if snapshot.scope == "tenant" else f"the scope {snapshot.scope!r}"


_lock = threading.Lock()
_detectors: list[Detector] = []
watchers: list[Sentinel] = []  #: Those that watch now: nobody, in most processes.
_attempt: ContextVar[Watched | None] = ContextVar("tenantjobs_attempt", default=None)
_UNWATCHED: nullcontext[None] = nullcontext()
