"""What open database transactions mean for jobs: two ports that the user's data layer fills.

``Transactions`` holds jobs until the commit, ``Work`` gives each attempt a session. ``tenantjobs_sqlalchemy``
registers both; without one there are no transactions to wait for, and jobs leave at the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from inspect import iscoroutine, iscoroutinefunction, isfunction
from types import FunctionType
from typing import Any, Protocol, TypeVar

from tenantjobs.adapter import Adapter, Joins
from tenantjobs.admission import admit, enqueue_admitted
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError
from tenantjobs.gathering import Gathering
from tenantjobs.handing import Sealed
from tenantjobs.locks import Wish, in_one_transaction, writes_more
from tenantjobs.permits import Reservation

T = TypeVar("T")

NEVER_AWAITED = (
    "it would never be awaited. Pass a plain function, such as one that enqueues an async job: "
    "on_commit(lambda: announce.perform_later(order_id))"
)


class Held(Protocol):
    """One job that waits for a commit."""

    @property
    def name(self) -> str: ...
    @property
    def job_id(self) -> str: ...
    @property
    def tenant_id(self) -> str | None: ...
    @property
    def cancelled(self) -> bool:
        """True once its handle has taken it back: it must not be written."""
        ...

    @property
    def wish(self) -> Wish | None:
        """The lock without which it may not be written; known when it is sealed."""
        ...

    @property
    def reservation(self) -> Reservation | None:
        """The permit without which it may not be written, known by then as well."""
        ...

    @property
    def batch(self) -> Gathering | None: ...
    @property
    def called_back_by(self) -> Gathering | None: ...
    @property
    def members(self) -> Sequence[str]:
        """The ids of the jobs that are of its batch with it."""
        ...

    def seal(self) -> Envelope:
        """The envelope; to be called after the last flush, when the keys of pending records are known."""
        ...

    def sent(self) -> None: ...
    def locked(self, *, apart: bool) -> None:
        """It has them; ``apart``: a rollback of the transaction does not free them."""
        ...

    def dropped(self, reason: str) -> None: ...
    def refused(self, error: Exception) -> None: ...
    def failed(self, error: Exception) -> None: ...


class Transactions(Protocol):
    """The open transactions of this context."""

    def takes(self, adapter: Adapter) -> bool:
        """True if an open transaction would take a job that is for ``adapter``."""
        ...

    def hold(self, held: Sequence[Held], adapter: Adapter) -> bool:
        """True if an open transaction has taken the jobs; False if there is none and the caller sends them now."""
        ...

    def on_commit(self, callback: Callable[[], object]) -> bool:
        """True if the callback waits for a commit; False if there is no open transaction."""
        ...

    def scope(self, queue: Joins) -> Scope | None:
        """The open transaction that ``queue`` joins; None without one, and where it can only be awaited."""
        ...

    def ascope(self, queue: Joins) -> AsyncScope | None:
        """The same for code that awaits."""
        ...

    def obstacle(self, adapter: Adapter) -> str | None:
        """Why a job cannot be sent to ``adapter`` before the commit of what is open; None if it can."""
        ...


class Scope(Protocol):
    """The transaction of a session."""

    def run(self, function: Callable[[object], T]) -> T:
        """Call ``function`` with the connection of this session, inside its transaction."""
        ...


class AsyncScope(Protocol):
    """The transaction of an asynchronous session."""

    async def run(self, function: Callable[[object], T]) -> T: ...


class WorkScope(Scope, Protocol):
    """The transaction of an attempt."""

    def before_commit(self, function: Callable[[object], None]) -> None:
        """Call ``function`` with the connection when all else is written; what it raises is raised by the commit."""
        ...

    def checkpoint(self, function: Callable[[object], None]) -> None:
        """Call ``function`` with the connection, commit what was done so far, and begin anew."""
        ...

    def roll_back(self) -> None:
        """Undo what was done since the last commit, and begin anew."""
        ...


class AsyncWorkScope(AsyncScope, Protocol):
    """The transaction of an attempt of an async job."""

    def before_commit(self, function: Callable[[object], None]) -> None: ...
    async def checkpoint(self, function: Callable[[object], None]) -> None: ...
    async def roll_back(self) -> None: ...


class Work(Protocol):
    """Opens the session of an attempt: committed on a clean exit, rolled back on any BaseException, always closed.

    ``kept_for`` names a job whose work commits together with what is done for it: it may not end the transaction.
    ``without`` is for a job that wants none: it does not see the session of a job that it is performed in, either.
    """

    def session(self, *, kept_for: str | None = None) -> AbstractContextManager[WorkScope]: ...
    def asession(self, *, kept_for: str | None = None) -> AbstractAsyncContextManager[AsyncWorkScope]: ...
    def without(self) -> AbstractContextManager[None]: ...


_transactions: Transactions | None = None
_work: Work | None = None


def register(transactions: Transactions) -> None:
    """Make ``transactions`` the place that jobs and callbacks ask before they leave."""
    global _transactions
    _transactions = transactions


def register_work(work: Work) -> None:
    """Make ``work`` the giver of sessions for jobs."""
    global _work
    _work = work


def work() -> Work | None:
    """The giver of sessions, if a data layer is installed."""
    return _work


def takes(adapter: Adapter) -> bool:
    """Whether this context has an open transaction that a job for ``adapter`` would have to do with."""
    return _transactions is not None and _transactions.takes(adapter)


def hold(held: Sequence[Held], adapter: Adapter) -> bool:
    """Give ``held`` to the open transaction of this context, if there is one."""
    return _transactions is not None and _transactions.hold(held, adapter)


def scope(queue: Joins) -> Scope | None:
    """The open transaction of this context that ``queue`` joins, to do something in it."""
    return None if _transactions is None else _transactions.scope(queue)


def ascope(queue: Joins) -> AsyncScope | None:
    """The same for code that awaits."""
    return None if _transactions is None else _transactions.ascope(queue)


def on_commit(callback: Callable[[], object]) -> None:
    """Call ``callback`` after the open transaction of this context has committed, or now if there is none.

    A rollback drops it. What it raises is logged and reaches nobody: the data is committed already. An async function
    is a ``ConfigurationError``: where a commit ends there is nobody to await it. So is what cannot be called as it is.
    """
    given: Any = callback  # whatever it was declared as, it is looked at
    if not callable(given) or (isfunction(given) and _wanted(given) > 0):
        raise ConfigurationError(
            f"on_commit({callback!r:.120}): it is called without arguments: give it a function that takes none, as in "
            f"on_commit(lambda: announce(order_id))"
        )
    if iscoroutinefunction(callback) or iscoroutinefunction(getattr(callback, "__call__", None)):  # noqa: B004
        raise ConfigurationError(f"on_commit({callback!r:.120}): {NEVER_AWAITED}")
    if not defer(callback):
        call(callback)


def defer(callback: Callable[[], object]) -> bool:
    """True if ``callback`` waits for the open transaction of this context; False, and not called, if there is none."""
    return _transactions is not None and _transactions.on_commit(callback)


def call(callback: Callable[[], object]) -> None:
    """Call what was given to ``on_commit``; ConfigurationError if that turns out to be async."""
    result = callback()
    if iscoroutine(result):
        result.close()
        raise ConfigurationError(f"the callback of on_commit {callback!r:.120} made a coroutine: {NEVER_AWAITED}")


def _wanted(function: FunctionType) -> int:
    """How many arguments it insists on; cheaper than its signature."""
    return function.__code__.co_argcount - len(function.__defaults__ or ())


def refuse_obstacle(name: str, adapter: Adapter) -> None:
    """EnqueueError if a job that does not wait for the commit could not be stored before it."""
    why = None if _transactions is None else _transactions.obstacle(adapter)
    if why is not None:
        raise EnqueueError(
            f"job {name} is declared with enqueue_after_commit=False, and could not be stored now: {why}. Enqueue it "
            f"before or after the transaction, or let it wait for the commit"
        )


def send(held: Sequence[Held], adapter: Adapter) -> None:
    """Hand the jobs to the adapter, and tell each of them how it went. Never raises for the adapter's sake."""
    ready: list[Held] = []
    for job in held:
        if job.cancelled:
            continue
        try:
            job.seal()
            ready.append(job)
        except Exception as error:
            job.failed(error)
    admitted: Sequence[Held] = ready
    try:
        with in_one_transaction(ready, adapter) as connection:
            admitted = _admitted(ready, adapter, connection)
            errors = enqueue_admitted(admitted, adapter, connection)
    except Exception as error:
        errors = {job.job_id: error for job in admitted}
    for job in admitted:
        if job.job_id in errors:
            job.failed(errors[job.job_id])
        else:
            job.sent()


def _admitted(held: Sequence[Held], adapter: Adapter, connection: object | None) -> Sequence[Held | Sealed]:
    try:
        return admit(held, adapter, connection)
    except Exception as error:
        if connection is not None:
            raise  # of a transaction that is good for nothing any more
        plain = [job for job in held if not writes_more(job)]
        for job in held:
            if job not in plain:
                job.failed(error)
        return plain
