"""Jobs as their queue has them: looked through, counted, and retried, discarded or cancelled by hand.

Whatever is done is done at once, in transactions of the queue's own: no commit of the application is waited for, and no
rollback takes it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from tenantjobs import adapter, concluding, instrumentation, links, logs, results, runtime
from tenantjobs.envelope import Envelope, known_id
from tenantjobs.errors import (
    ConfigurationError,
    EnvelopeError,
    JobGone,
    UnsupportedCapability,
)
from tenantjobs.idempotency import seconds_of
from tenantjobs.identity import canonical_id
from tenantjobs.instrumentation import Intervened, VerbName
from tenantjobs.membership import FAILED
from tenantjobs.tenancy import visible_tenant
from tenantjobs.upkeep import AT_ONCE, BATCH, MEANT, MISSING, Change, Changes, JobStats, JobStore, KeepsJobs, Verb
from tenantjobs.view import JobFilter, JobView

logger = logging.getLogger("tenantjobs.stored")

PAGE = 100
WINDOW = 300.0  # seconds

_SAID: Mapping[Verb, VerbName] = {
    "retry": "retried",
    "discard": "discarded",
    "cancel": "cancelled",
    "run_now": "advanced",
    "clear": "cleared",
}


class Handled(msgspec.Struct, frozen=True):
    """How many jobs it was done about. ``skipped`` are those of which it could not: they had gone on meanwhile, are of
    another state, or are not the only ones of their key. ``told`` run, and hear that they were cancelled.
    """

    done: int = 0
    skipped: int = 0
    told: int = 0

    @property
    def total(self) -> int:
        """All that were looked at."""
        return self.done + self.skipped + self.told


class StoredJobs:
    """Some of the jobs of a queue, asked for anew each time.

    Iterating gives them page by page, the oldest first, and ``reversed()`` the newest first.
    """

    def __init__(self, store: JobStore, which: JobFilter | None = None) -> None:
        self.which = JobFilter() if which is None else which
        self._store = store

    def __iter__(self) -> Iterator[JobView]:
        return self._pages(newest_first=False)

    def __reversed__(self) -> Iterator[JobView]:
        return self._pages(newest_first=True)

    def page(self, *, after: str | None = None, limit: int = PAGE, newest_first: bool = False) -> list[JobView]:
        """The next ``limit`` of them behind the id ``after``."""
        if not 1 <= limit <= AT_ONCE:
            raise ConfigurationError(f"page(limit={limit}): a number of jobs from 1 to {AT_ONCE} is wanted")
        after = None if after is None else _id(after)
        return list(self._store.page(self.which, after=after, limit=limit, newest_first=newest_first))

    def count(self) -> int:
        """How many there are. It counts rows, which takes a while where there are millions."""
        return self._store.count(self.which)

    def result(self, job_id: str) -> Any:
        """What one of them has returned, if it says ``keep_result=True``; ``NoResult`` until it has finished."""
        kept = self._store.result(job_id) if self._store.page(self._only(job_id), limit=1) else None
        if kept is None:
            raise JobGone(MISSING.format(job_id))
        return results.value(kept)

    def stats(self, *, window: float = WINDOW) -> JobStats:
        """How many in which state, how old, and what happened in the last ``window`` seconds. It counts rows, too."""
        return self._store.stats(self.which, window=seconds_of("stats", "window", window))

    def find(self, job_id: str) -> JobView:
        """The one of this id, with all that is known of it; ``JobGone`` if it is none of these."""
        found = self._store.find(job_id) if self._store.count(self._only(job_id)) else None
        if found is None:
            raise JobGone(MISSING.format(job_id))
        return found

    def retry(self, job_id: str) -> None:
        """Have a job that has failed, or is in quarantine, run again as if it had never been tried.

        It keeps its id, its tenant, its arguments and the steps that are done; attempts and counters begin anew, and
        the history of its attempts stays. ``JobGone`` if there is none, ``WrongState`` if it has not failed,
        ``DuplicateJob`` if another one has its unique key by now.
        """
        self.change("retry", job_id)

    def retry_all(self, *, batch_size: int = BATCH, tell: Callable[[Handled], object] | None = None) -> Handled:
        """The same for all that have failed; those in quarantine if ``states`` names them.

        A transaction for each ``batch_size``, after which ``tell`` hears how many there have been.
        """
        return self.change_all("retry", batch_size=batch_size, tell=tell)

    def discard(self, job_id: str, *, reason: str | None = None) -> None:
        """Give up a job that waits, has failed or is in quarantine: its batch has failed with it, and its chain ends.

        ``WrongState`` if it runs, or is over.
        """
        self.change("discard", job_id, reason=reason)

    def discard_all(
        self, *, reason: str | None = None, batch_size: int = BATCH, tell: Callable[[Handled], object] | None = None
    ) -> Handled:
        """The same for all of them that can be."""
        return self.change_all("discard", reason=reason, batch_size=batch_size, tell=tell)

    def cancel(self, job_id: str) -> bool:
        """Take a job back that has not started, as ``handle.cancel()`` does: for its batch it was never there.

        One that runs is told, within a second or two, and this is False. An async job is cancelled where it awaits, one
        with steps ends at its next checkpoint, and any other one goes on unless it asks ``current_job().cancelled``;
        none is tried again. One that was ended by it is discarded, and has failed its batch.
        """
        return self.change("cancel", job_id)

    def cancel_all(self, *, batch_size: int = BATCH, tell: Callable[[Handled], object] | None = None) -> Handled:
        """The same for all that wait or run."""
        return self.change_all("cancel", batch_size=batch_size, tell=tell)

    def run_now(self, job_id: str) -> None:
        """Have a scheduled job be due now."""
        self.change("run_now", job_id)

    def run_all_now(self, *, batch_size: int = BATCH, tell: Callable[[Handled], object] | None = None) -> Handled:
        """The same for all that are scheduled."""
        return self.change_all("run_now", batch_size=batch_size, tell=tell)

    def clear(self, job_id: str) -> None:
        """Forget a job that is over, with its history."""
        self.change("clear", job_id)

    def clear_all(self, *, batch_size: int = BATCH, tell: Callable[[Handled], object] | None = None) -> Handled:
        """The same for all that have finished or were discarded; those that have failed if ``states`` names them."""
        return self.change_all("clear", batch_size=batch_size, tell=tell)

    def change(self, verb: Verb, job_id: str, *, reason: str | None = None) -> bool:
        """Do it about one of them, as the method of that name does; False if the job was told, and runs on."""
        changes = self._store.change(verb, self._only(job_id), limit=1, reason=reason)
        if job_id in changes.refused:
            raise changes.refused[job_id]
        if not (changes.changed or changes.told):
            raise JobGone(MISSING.format(job_id))
        _follow(verb, changes, reason)
        return bool(changes.changed)

    def change_all(
        self,
        verb: Verb,
        *,
        reason: str | None = None,
        batch_size: int = BATCH,
        tell: Callable[[Handled], object] | None = None,
    ) -> Handled:
        """The same for all of them that are in a state in which it can be done."""
        if not 1 <= batch_size <= AT_ONCE:
            raise ConfigurationError(f"batch_size={batch_size}: a number of jobs from 1 to {AT_ONCE} is wanted")
        which, handled, last = _meant(verb, self.which), Handled(), None
        while True:
            changes = self._store.change(verb, which, after=last, limit=batch_size, reason=reason)
            _follow(verb, changes, reason)
            handled = Handled(
                handled.done + len(changes.changed),
                handled.skipped + len(changes.refused),
                handled.told + len(changes.told),
            )
            if tell is not None:
                tell(handled)
            last = changes.last
            if last is None:
                return handled

    def meant(self, verb: Verb) -> StoredJobs:
        """Those that ``change_all`` is about."""
        return StoredJobs(self._store, _meant(verb, self.which))

    def _pages(self, *, newest_first: bool) -> Iterator[JobView]:
        after: str | None = None
        while page := self.page(after=after, newest_first=newest_first):
            yield from page
            after = page[-1].id

    def _only(self, job_id: str) -> JobFilter:
        ids = self.which.ids
        return msgspec.structs.replace(self.which, ids=(job_id,) if ids is None or job_id in ids else ())


def stored_jobs(
    *,
    state: str | Iterable[str] = (),
    tenant: Any = msgspec.UNSET,
    queue: str | None = None,
    job: Any = None,
    enqueued_after: datetime | None = None,
    enqueued_before: datetime | None = None,
    finished_after: datetime | None = None,
    finished_before: datetime | None = None,
    error: str | type[BaseException] | None = None,
    worker: str | None = None,
    batch: Any = None,
    without_tenant: bool = False,
) -> StoredJobs:
    """The jobs of the configured queue for which all of this holds.

    In the scope of a tenant those of that tenant alone; under ``Current.system(...)`` those of all, or of ``tenant``.
    Where a tenant is required and none is set, that is ``TenantMissing``. ``job`` is a job or its name, ``error`` a
    class or its name, ``batch`` a batch or its id, ``worker`` the id or the pid of a process. Moments are from
    (``..._after``) and before (``..._before``).
    """
    moments = {
        "enqueued_after": enqueued_after,
        "enqueued_before": enqueued_before,
        "finished_after": finished_after,
        "finished_before": finished_before,
    }
    for name, moment in moments.items():
        if moment is not None and moment.tzinfo is None:
            raise ConfigurationError(f"stored_jobs({name}={moment!r}): a moment with a time zone is wanted")
    states = (state,) if isinstance(state, str) else tuple(state)
    which = JobFilter(
        states=states,
        tenant=_tenant(tenant, without_tenant),
        queue=queue,
        job=getattr(job, "name", job),
        error=f"{error.__module__}.{error.__qualname__}" if isinstance(error, type) else error,
        worker=worker,
        batch=getattr(batch, "id", batch),
        enqueued_after=enqueued_after,
        enqueued_before=enqueued_before,
        finished_after=finished_after,
        finished_before=finished_before,
    )
    return StoredJobs(store(), which)


def store() -> JobStore:
    """The jobs of all tenants in the configured queue; ``UnsupportedCapability`` from one that shows none."""
    found = adapter.configured()
    if not isinstance(found, KeepsJobs):
        raise UnsupportedCapability(
            f"the adapter {runtime.settings().adapter!r} does not show its jobs: use the tools of its queue"
        )
    return found.stored


def _tenant(given: object, without: bool) -> str | None:
    """The tenant whose jobs are meant; None for all, "" for those of none."""
    if without and given is not msgspec.UNSET:
        raise ConfigurationError("stored_jobs(tenant=..., without_tenant=True): leave one of them out")
    wanted = "" if without else None if given is msgspec.UNSET else canonical_id(given)
    return visible_tenant("stored jobs were", wanted)


def _id(after: str) -> str:
    try:
        return known_id(after)
    except ValueError:
        raise ConfigurationError(
            f"page(after={after!r}) is no id of a job: give that of the last one of the page before"
        ) from None


def _meant(verb: Verb, which: JobFilter) -> JobFilter:
    return which if which.states else msgspec.structs.replace(which, states=MEANT[verb])


def _follow(verb: Verb, changes: Changes, reason: str | None) -> None:
    """What follows a change that is committed: batches are told, and whoever listens."""
    if verb in ("discard", "cancel"):
        _tell_batches(verb, changes)
    _say(_SAID[verb], changes.changed, reason)
    _say("told to stop", changes.told, reason)


def _say(said: VerbName, changes: Iterable[Change], reason: str | None) -> None:
    for change in changes:
        logs.line(logger, logging.INFO, said, change.job, reason)
        if instrumentation.listeners:
            instrumentation.emit(Intervened(job=change.job, verb=said, reason=reason))


def _tell_batches(verb: Verb, changes: Changes) -> None:
    left: list[str] = []
    for change in changes.changed:
        envelope = _envelope(change.data)
        if envelope is None or not concluding.is_concerned(envelope):
            continue
        if verb == "cancel" and "callback" not in envelope.keys:
            left += [envelope.id, *links.ids(envelope.chain)]
        else:
            _logged(concluding.end, envelope, FAILED)
    if left:
        _logged(concluding.leave, left)


def _logged(function: Callable[..., object], *args: Envelope | str | Collection[str]) -> None:
    try:
        function(*args)
    except Exception:  # the job is where it was to be; a worker finds out that its batch was not told
        logger.warning("a batch could not be told of jobs that have ended by hand; a worker will", exc_info=True)


def _envelope(data: str) -> Envelope | None:
    try:
        return Envelope.decode(data)
    except EnvelopeError:
        return None
