"""One execution of a job as its steps see it: which are done, which is open, and what a checkpoint keeps.

A checkpoint commits what the job has done so far, with the bookmark where the queue is in the same database, and asks
whether the worker wants to stop. Then the job is interrupted: another execution goes on from the bookmark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, Protocol, runtime_checkable

import msgspec

from tenantjobs import runtime
from tenantjobs.bookmark import Bookmark
from tenantjobs.bookmarks import Beside
from tenantjobs.colours import Awaiting, Colour
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import Cancelled, Interruption, LeaseLost, SerializationError, StepError
from tenantjobs.plain import freeze, thaw
from tenantjobs.running import is_cancelled


@runtime_checkable
class Stops(Protocol):
    """A delivery by a worker that says when it wants to end."""

    def stopping(self) -> bool: ...


@runtime_checkable
class Checkpoints(Protocol):
    """A delivery by a queue that keeps bookmarks, so that a crash loses nothing behind a checkpoint."""

    def joins(self, connection: object) -> bool:
        """True if the queue is in the database of ``connection``."""
        ...

    def mark_within(self, connection: object, envelope: Envelope) -> None:
        """Keep the bookmark in the transaction of ``connection``; LeaseLost if the job is another worker's by now."""
        ...

    def mark(self, envelope: Envelope) -> None:
        """The same in a transaction of its own."""
        ...

    def kept(self) -> Bookmark | None:
        """The bookmark that was kept last, by whatever execution; LeaseLost if the job is another worker's by now."""
        ...


@runtime_checkable
class KeepsBeside(Protocol):
    """A delivery by a queue that keeps no bookmarks, and where they are kept instead."""

    def beside(self, envelope: Envelope) -> Beside | None:
        """None where there is no place for them: a crash loses the steps of its execution."""
        ...


class Resumption(Interruption):
    """A step is to be gone on with in another execution. Not to be caught on the way."""


class Course:
    """The steps of one execution. Without an ``envelope`` it is that of ``perform_now``: nothing interrupts it.

    In its block it is the one that steps belong to.
    """

    def __init__(
        self, job: Definition, io: Colour, envelope: Envelope | None = None, delivery: object | None = None
    ) -> None:
        found = None if envelope is None else envelope.bookmark
        self.io = io
        self.session: Any = None
        self.before_commit: Callable[[], Awaitable[None]] | None = None  # what may keep a checkpoint from it
        self.bookmark = found if found is None else msgspec.structs.replace(found, resumptions=found.resumptions + 1)
        self.has_advanced = False
        self._job = job
        self._envelope = envelope
        self._delivery = delivery
        self._keeper: Checkpoints | None = None
        self._beside: Beside | None = None
        self._has_looked = envelope is None
        self._met: list[str] = []
        self._open: str | None = None
        self._was_isolated = False
        self._promised: list[Coroutine[Any, Any, None]] = []

    def __enter__(self) -> None:
        self._token = _course.set(self)

    def __exit__(self, *_error: object) -> None:
        _course.reset(self._token)

    @property
    def resumptions(self) -> int:
        return 0 if self.bookmark is None else self.bookmark.resumptions

    def begin(self) -> None:
        """``StepError`` if the job has been resumed too often."""
        most = self._job.max_resumptions
        if most is not None and self.resumptions > most:
            raise StepError(f"{self} was resumed {most} times, as often as max_resumptions allows")

    def end(self) -> None:
        """``StepError`` if steps were called and not awaited: they have not run."""
        forgotten = [each for each in self._promised if getcoroutinestate(each) == CORO_CREATED]
        for coroutine in forgotten:
            coroutine.close()
        if forgotten:
            raise StepError(f"{self}: run_steps was not awaited, so no step has run: write `await self.run_steps(...)`")

    async def meets(self, name: str) -> bool:
        """Come to a step: False if it is done already. ``StepError`` if it could not be the next one."""
        await self._look()
        if self._job.keeps_transaction:
            raise StepError(
                f"{self} has steps, whose work commits at each checkpoint, and is transactional or idempotent, so that "
                f"its work is to commit in one piece: leave out the steps, or make each of them a job"
            )
        if self._open is not None:
            raise StepError(
                f"{self}: step {name!r} begins inside of step {self._open!r}, or after that was left by `break` or an "
                f"error: steps are not nested, and `continue` ends one early"
            )
        if name in self._met:
            raise StepError(f"{self} comes to step {name!r} twice: give each step of a job a name of its own")
        here, number = self._here, len(self._met)
        self._met.append(name)
        if number < len(here.done):
            if here.done[number] != name:
                raise StepError(
                    f"{self} has completed {', '.join(here.done)}, and comes to {', '.join(self._met)} now: the steps "
                    f"of a job that is under way keep their names and their order"
                )
            return False
        if here.step not in (None, name):
            raise StepError(
                f"{self} was interrupted in step {here.step!r}, and comes to {name!r} now: the steps of a job that is "
                f"under way keep their names and their order"
            )
        return True

    @property
    def done(self) -> tuple[str, ...]:
        """The steps that are completed."""
        return self._here.done

    def is_in(self, name: str) -> bool:
        """Whether the step is open."""
        return self._open == name

    def is_resumed_in(self, name: str) -> bool:
        """Whether an earlier execution has begun the step."""
        return self._here.step == name

    def skip(self, name: str) -> None:
        """Leave the step out, now and whenever the job is resumed."""
        self.bookmark = Bookmark((*self._here.done, name), resumptions=self.resumptions)

    async def enter(self, name: str, *, isolated: bool) -> None:
        """Begin a step, or interrupt the job before it."""
        self._heed_cancel()
        if self.has_advanced:
            self._heed_stop()
        if self._was_isolated or (isolated and self.has_advanced):
            self._interrupt(f"step {name!r} wants an execution of its own")
        self._was_isolated = isolated
        self._open = name

    async def leave(self) -> None:
        """The open step is done: keep that."""
        assert self._open is not None, "no step is open"
        await self._keep(Bookmark((*self._here.done, self._open), resumptions=self.resumptions))
        self._open = None
        self.has_advanced = True

    async def roll_back(self) -> None:
        """Undo what was done since the last checkpoint."""
        if self.session is not None:
            await self.io.settle(self.session.roll_back())

    def cursor(self, name: str, start: Any) -> Any:
        """Where the step is to go on."""
        here = self._here
        if here.step != name or here.cursor is msgspec.UNSET:
            return start
        return thaw(here.cursor, f"{self}: the cursor of step {name!r}")

    async def move_cursor(self, name: str, value: object) -> None:
        """Keep the place inside of the open step, and interrupt the job if the worker wants to stop."""
        self._require_open(name)
        tree = freeze(value, f"{self}: the cursor of step {name!r}")
        await self._keep(msgspec.structs.replace(self._here, step=name, cursor=tree))
        self.has_advanced = True
        self._heed_stop()

    async def checkpoint(self, name: str) -> None:
        """Commit what was done so far, and interrupt the job if the worker wants to stop."""
        self._require_open(name)
        await self._keep(msgspec.structs.replace(self._here, step=name))
        self._heed_stop()

    @property
    def is_kept_beside(self) -> bool:
        """Whether bookmarks are kept that outlive the job."""
        return self._beside is not None

    async def forget(self) -> None:
        """The job has ended: nobody goes on with it."""
        if self._beside is not None:
            await self.io.blocking(self._beside.forget)

    def promise(self, coroutine: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """``coroutine``, which has to be awaited before the job ends."""
        self._promised.append(coroutine)
        return coroutine

    def refuse_blocking(self, what: str, instead: str) -> None:
        """``StepError`` in an async job, for what can only block."""
        if isinstance(self.io, Awaiting):
            raise StepError(f"{self} is async, and {what} would block its event loop: write {instead}")

    @property
    def _here(self) -> Bookmark:
        return self.bookmark or Bookmark()

    async def _look(self) -> None:
        """Find out who keeps bookmarks, and go on from what an execution that died has kept.

        Once the job turns out to have steps: jobs without any pay for none of it.
        """
        if self._has_looked or self._envelope is None:
            return
        self._has_looked = True
        if isinstance(self._delivery, Checkpoints):
            self._keeper = self._delivery
            return
        beside = self._delivery.beside(self._envelope) if isinstance(self._delivery, KeepsBeside) else None
        if beside is None:
            return
        self._beside = self._keeper = beside
        found = await self.io.blocking(beside.find)
        # One that was kept by the execution that has enqueued this message is no news.
        if found is not None and found.resumptions >= self.resumptions:
            self.bookmark = msgspec.structs.replace(found, resumptions=found.resumptions + 1)
            self.begin()

    async def _keep(self, bookmark: Bookmark) -> None:
        """Commit the work and the bookmark: together where they are in one database, else in this order."""
        if self._envelope is None:
            self.bookmark = bookmark
            return
        # Not charged: if this is what a crash leaves behind, the attempt has not failed.
        uncharged = self._envelope.attempt - 1
        envelope = msgspec.structs.replace(self._envelope, attempt=uncharged, bookmark=bookmark)
        _refuse_oversize(envelope)
        lost = getattr(self._delivery, "lost", None)
        if lost is not None and lost():
            raise LeaseLost(f"{self} belongs to another worker by now")
        keeper = self._keeper
        kept_within = False

        def write(connection: object) -> None:
            nonlocal kept_within
            if keeper is not None and connection is not None and keeper.joins(connection):
                keeper.mark_within(connection, envelope)
                kept_within = True

        if self.before_commit is not None:
            await self.before_commit()
        if self.session is not None:
            try:
                await self.io.settle(self.session.checkpoint(write))
            except Exception as error:
                if keeper is not None and kept_within:
                    await self._find_out(keeper, bookmark, error)
                raise
        self.bookmark = bookmark
        if keeper is not None and not kept_within:
            await self.io.blocking(keeper.mark, envelope)

    async def _find_out(self, keeper: Checkpoints, bookmark: Bookmark, error: Exception) -> None:
        """The commit has failed, or only its answer was lost: whatever follows goes on from what was kept."""
        try:
            await self.roll_back()  # what is still open of it would be waited for
            kept = await self.io.blocking(keeper.kept)
        except Exception:
            raise LeaseLost(f"{self}: nobody can say yet whether its last checkpoint was committed") from error
        if msgspec.json.encode(kept) == msgspec.json.encode(bookmark):
            self.bookmark = bookmark

    def _heed_stop(self) -> None:
        self._heed_cancel()
        if isinstance(self._delivery, Stops) and self._delivery.stopping():
            self._interrupt("the worker stops")

    def _heed_cancel(self) -> None:
        if is_cancelled(self._delivery):
            raise Cancelled(f"{self} was cancelled while it ran")

    def _interrupt(self, reason: str) -> None:
        if self._envelope is not None:
            raise Resumption(reason)

    def _require_open(self, name: str) -> None:
        if self._open != name:
            raise StepError(f"{self}: the cursor of step {name!r} is used outside of it")

    def __str__(self) -> str:
        return f"job {self._job.name}" + ("" if self._envelope is None else f" id={self._envelope.id}")


def current_course(what: str) -> Course:
    """The course of the job that is performed here; ``StepError`` outside of one."""
    course = _course.get()
    if course is None:
        raise StepError(f"{what}: steps belong to a job that is being performed, and there is none here")
    return course


def _refuse_oversize(envelope: Envelope) -> None:
    assert envelope.bookmark is not None
    limit = runtime.settings().size_limit
    if len(msgspec.json.encode(envelope.bookmark)) > limit:
        raise SerializationError(
            f"job {envelope.name} id={envelope.id}: its steps and cursor are over the limit of {limit:,} bytes: store "
            f"the data, and set the cursor to its key"
        )


_course: ContextVar[Course | None] = ContextVar("tenantjobs_course", default=None)
