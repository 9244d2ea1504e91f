"""A job between the call and the queue: frozen arguments and context, its hooks, and its envelope."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from tenantjobs import instrumentation, limits, links, locks, logs, reporting, sealing, uniqueness
from tenantjobs.adapter import Adapter
from tenantjobs.arguments import Frozen, freeze
from tenantjobs.call import Call
from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope, new_id
from tenantjobs.errors import Abort, DuplicateJob
from tenantjobs.gathering import Gathering
from tenantjobs.handle import Handle
from tenantjobs.hooks import After, Around, EnqueueHook, after_enqueue, never_yielded
from tenantjobs.instrumentation import Enqueued, EnqueueDropped, EnqueueRefused, Enqueuing
from tenantjobs.locks import Wish
from tenantjobs.options import check_options, queue_name
from tenantjobs.permits import Reservation
from tenantjobs.running import JobContext
from tenantjobs.template import Template, require_priority
from tenantjobs.tenancy import refuse_foreign

logger = logging.getLogger("tenantjobs.enqueuing")


class Message:
    """A job between the call and the queue; an open transaction may hold it, and so may the block of its ``batch``.

    ``followers`` come after it in a chain. With ``called_back_by`` it is the callback of that batch.
    """

    # fmt: off
    __slots__ = (
        "_call", "_followers", "_frozen", "_given", "_hooked", "_job", "_locked_apart", "_priority", "_queue",
        "_sealed", "_snapshot", "_template", "batch", "called_back_by", "handle",
    )
    # fmt: on

    def __init__(
        self,
        call: Call,
        target: Adapter,
        *,
        template: Template | None = None,
        batch: Gathering | None = None,
        followers: Sequence[Message] = (),
        called_back_by: Gathering | None = None,
        ahead: bool = False,
    ) -> None:
        definition = call.definition
        self._call = call
        self._template = template = Template(call, target) if template is None else template
        self._snapshot = template.snapshot
        # None once it is sealed: of many jobs, each object more is one more for the garbage collector.
        self._frozen: Frozen | None = freeze(definition.binding, call.args, call.kwargs, types=definition.types)
        self._followers = followers
        self.batch = batch
        self.called_back_by = called_back_by
        if batch is not None:
            batch.refuse_foreign(definition.name, self.tenant_id)
        if references := self._frozen.references:
            _refuse_foreign(definition, references, self._snapshot)
        job_id = new_id()
        batched = () if batch is None else (job_id, *(each.job_id for each in followers))
        self.handle = Handle(job_id, definition.name, target, batched)
        self._hooked = False
        self._locked_apart = False
        self._job: JobContext | None = None
        self._sealed: Envelope | None = None
        with template.scope():
            leading = definition.leading()
            self._given = (*leading, *call.args) if leading else call.args
            self._queue = self._chosen_queue() if template.queue is None else template.queue
            self._priority = self._chosen_priority(target) if template.priority is None else template.priority
            if instrumentation.listeners:
                self._announce()
            # Values are fixed at the call. Only the key of a record that is still to be flushed comes later.
            if not (ahead or self.has_pending_records):
                self.seal()

    @property
    def has_pending_records(self) -> bool:
        """Whether records get their keys with the last flush, before which it cannot be sealed."""
        if self._followers and any(each.has_pending_records for each in self._followers):
            return True
        return self._frozen is not None and self._frozen.pending

    @property
    def members(self) -> list[str]:
        """The ids of the jobs that are of its batch with it."""
        return [self.job_id, *(each.job_id for each in self._followers)]

    @property
    def pending(self) -> bool:
        return self.handle.enqueued is None

    @property
    def refused_or_dropped(self) -> bool:
        return self.handle.enqueued is False

    @property
    def name(self) -> str:
        return self._call.definition.name

    @property
    def job_id(self) -> str:
        return self.handle.job_id

    @property
    def tenant_id(self) -> str | None:
        return self._snapshot.tenant_id

    @property
    def cancelled(self) -> bool:
        return self.handle.cancelled

    @property
    def after_commit(self) -> bool:
        return self._call.definition.enqueue_after_commit

    @property
    def wish(self) -> Wish | None:
        """The lock that it needs; None for a job that is not unique."""
        policy = self._call.definition.unique
        if policy is None:
            return None
        lock = uniqueness.waiting_lock(self.seal(), policy.ttl)
        return Wish(uniqueness.locks_for(f"job {self.name} is @unique"), lock, policy.on_conflict)

    @property
    def reservation(self) -> Reservation | None:
        """The permit that it needs before it is enqueued; None for a job that may wait for one, or has no limit."""
        policy = self._call.definition.limit
        if policy is None or (request := limits.reservation(policy, self.seal())) is None:
            return None
        return Reservation(limits.permits_for(f"job {self.name} is limited"), request)

    def begin(self, stack: ExitStack) -> bool:
        """Run the hooks before it, and enter those around it as blocks of ``stack``; False if it is not to go."""
        self._hooked = True
        args, kwargs = self._given, self._call.kwargs
        try:
            for hook in self._call.definition.policies(EnqueueHook):
                if isinstance(hook, After) or not hook.applies(*args, **kwargs):
                    continue
                if isinstance(hook, Around):
                    _enter(stack, hook, args, kwargs)
                else:
                    hook.function(*args, **kwargs)
        except Abort as abort:
            self.refused(abort)
            return False
        return True

    def seal(self) -> Envelope:
        """The envelope, with the keys that the last flush gave to pending records."""
        if self._sealed is None:
            self._sealed = self._seal()
            self._frozen = None
        return self._sealed

    def link(self) -> msgspec.Raw:
        """It as a link, whose time to wait begins when it is its turn."""
        return self._link(self.seal())

    def give_up(self, reason: str) -> None:
        """Not to be enqueued, wherever it is held."""
        self.handle.cancelled = True
        self.dropped(reason)

    def sent(self) -> None:
        self.handle.enqueued = True
        if logger.isEnabledFor(logging.INFO):
            logs.line(logger, logging.INFO, "enqueued", self.job)
        if instrumentation.listeners:
            instrumentation.emit(Enqueued(job=self.job))
        hooks = self._call.definition.policies(after_enqueue) if self._hooked else ()
        if hooks:
            self._run_after(hooks)

    def locked(self, *, apart: bool) -> None:
        self.handle.lock = self.wish
        self.handle.reservation = self.reservation
        self._locked_apart = apart

    def dropped(self, reason: str) -> None:
        self.handle.enqueued = False
        if self._locked_apart:
            locks.withdraw([self])
        logs.line(logger, logging.DEBUG, "dropped", self.job, reason)
        if instrumentation.listeners:
            instrumentation.emit(EnqueueDropped(job=self.job, reason=reason))

    def refused(self, error: Exception) -> None:
        self.handle.enqueued = False
        self.handle.enqueue_error = error
        if isinstance(error, Abort):
            logs.line(logger, logging.INFO, "aborted", self.job, error)
        else:
            # Another one of its key is no mistake: the job declares what is to become of it then.
            level = logging.INFO if isinstance(error, DuplicateJob) else logging.ERROR
            logs.line(logger, level, "refused", self.job, repr(error), error=error)
        if instrumentation.listeners:
            instrumentation.emit(EnqueueRefused(job=self.job, error=error))

    def failed(self, error: Exception) -> None:
        self.refused(error)

    @property
    def job(self) -> JobContext:
        """The job as it is told of, the same object each time."""
        if self._job is None:
            self._job = JobContext(
                id=self.job_id,
                name=self.name,
                attempt=0,
                queue=self._queue,
                priority=self._priority,
                enqueued_at=self._template.enqueued_at,
                due_at=self._call.options.due_at,
                tenant_id=self.tenant_id,
                batch_id=links.batch_id(self._batch_keys()),
            )
        return self._job

    def _announce(self) -> None:
        enqueuing = Enqueuing(job=self.job, headers={})
        instrumentation.emit(enqueuing)
        if enqueuing.headers:
            self._snapshot = instrumentation.with_headers(self._snapshot, enqueuing.headers)

    def _run_after(self, hooks: tuple[after_enqueue, ...]) -> None:
        args, kwargs = self._given, self._call.kwargs
        with Current.restored(self._snapshot):  # the transaction may have ended in another scope
            for hook in reversed(hooks):
                try:
                    if hook.applies(*args, **kwargs):
                        hook.function(*args, **kwargs)
                except Exception as error:  # the queue has the job: nobody could take it back
                    reporting.report(error, handled=False, context={"job": self.name, "job_id": self.job_id})

    def _seal(self) -> Envelope:
        chain: tuple[msgspec.Raw, ...] = ()
        for each in reversed(self._followers):
            with Current.restored(each._snapshot):
                chain = (each._link(each._sealed_before(chain)), *chain)
        return self._sealed_before(chain)

    def _link(self, envelope: Envelope) -> msgspec.Raw:
        return sealing.link(envelope, self._call.options.wait)

    def _sealed_before(self, chain: tuple[msgspec.Raw, ...]) -> Envelope:
        """The envelope, with what follows the job."""
        assert self._frozen is not None
        return sealing.sealed(
            self._call,
            self._frozen,
            self._snapshot,
            job_id=self.job_id,
            queue=self._queue,
            priority=self._priority,
            enqueued_at=self._template.enqueued_at,
            given=self._given,
            keys=self._batch_keys(),
            chain=chain,
        )

    def _batch_keys(self) -> dict[str, str]:
        keys = {} if self.batch is None else {"batch": self.batch.id}
        return keys if self.called_back_by is None else keys | {"callback": self.called_back_by.id}

    def _chosen_queue(self) -> str:
        definition = self._call.definition
        assert definition.choose_queue is not None
        chosen = definition.choose_queue(*self._given, **self._call.kwargs)
        check_options(chosen, None)
        return queue_name(definition.queue if chosen is None else chosen)

    def _chosen_priority(self, target: Adapter) -> int:
        definition = self._call.definition
        assert definition.choose_priority is not None
        chosen = definition.choose_priority(*self._given, **self._call.kwargs)
        check_options(None, chosen)
        priority = definition.priority if chosen is None else chosen
        if priority:
            require_priority(definition, target)
        return priority


def _refuse_foreign(definition: Definition, records: Sequence[object], snapshot: Snapshot) -> None:
    for record in records:
        refuse_foreign(definition, record, snapshot.tenant_id)


def _enter(stack: ExitStack, hook: Around, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        stack.enter_context(contextmanager(hook.function)(*args, **kwargs))
    except RuntimeError as error:
        if not never_yielded(error):
            raise
        raise Abort("a hook around it did not yield") from None
