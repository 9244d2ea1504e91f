"""What messages have in common that are of one job, with the same options, and made in one scope."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tenantjobs import adapter, clock, encryption, inbox, instrumentation, limits, rates, sealing, uniqueness
from tenantjobs.adapter import Adapter
from tenantjobs.arguments import Frozen
from tenantjobs.call import Call, context
from tenantjobs.current import Current
from tenantjobs.definition import Definition, require_registered
from tenantjobs.envelope import Envelope
from tenantjobs.idempotency import ledger_for
from tenantjobs.options import queue_name

_AS_IT_IS = nullcontext()


class Template:
    """Of the calls that are enqueued together, those of one kind are checked once, and have one moment.

    ``TenantMissing``, ``CrossTenantSwitch``, ``ConfigurationError`` or ``UnsupportedCapability`` for a job that cannot
    be enqueued here, whatever its arguments. ``queue`` and ``priority`` are None where these decide.
    """

    __slots__ = ("_definition", "_made_in", "_options", "enqueued_at", "priority", "queue", "snapshot")

    def __init__(self, call: Call, target: Adapter) -> None:
        definition, options = call.definition, call.options
        require_registered(definition)
        self.snapshot = context(call)
        self._definition = definition
        self._options = options
        self._made_in = call.snapshot
        _require_keepers(definition, target)
        _refuse_undeclared(call, target)
        self.enqueued_at = clock.now()
        queue = definition.queue if options.queue is None and definition.choose_queue is None else options.queue
        self.queue = None if queue is None else queue_name(queue)
        is_chosen = options.priority is None and definition.choose_priority is not None
        self.priority = None if is_chosen else definition.priority if options.priority is None else options.priority
        if self.priority:
            require_priority(definition, target)

    def fits(self, call: Call) -> bool:
        """Whether it is that of ``call``, too, if both are enqueued together."""
        return call.definition is self._definition and call.options is self._options and call.snapshot is self._made_in

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked about such a job where it is enqueued, and nothing kept beside its envelope."""
        return self.queue is not None and self.priority is not None and not self._definition.has_keys

    def sealed(self, call: Call, frozen: Frozen, job_id: str) -> Envelope:
        """The envelope of a plain job."""
        assert self.queue is not None
        assert self.priority is not None
        return sealing.sealed(
            call,
            frozen,
            self.snapshot,
            job_id=job_id,
            queue=self.queue,
            priority=self.priority,
            enqueued_at=self.enqueued_at,
        )

    def scope(self) -> AbstractContextManager[None]:
        """That in which the calls were made, where something might ask for it that is not ours."""
        if self._made_in is None:
            return _AS_IT_IS
        is_asked_for = self._definition.asks_the_caller or instrumentation.listeners or encryption.is_on()
        return Current.restored(self._made_in) if is_asked_for else _AS_IT_IS


def require_priority(definition: Definition, target: Adapter) -> None:
    """``UnsupportedCapability`` if the queue has no priorities."""
    adapter.require(target, "priority", f"priority for job {definition.name}")


def _require_keepers(definition: Definition, target: Adapter) -> None:
    """``ConfigurationError`` where nothing keeps what the job is guarded by."""
    if definition.transactional and not target.capabilities.transactional:
        inbox.require(definition.name)
    if not definition.has_keys:
        return
    if definition.idempotent is not None:
        ledger_for(f"job {definition.name} is @idempotent")
    if definition.unique is not None:
        uniqueness.require(definition.unique, definition.name, target)
    if definition.limit is not None:
        limits.permits_for(f"job {definition.name} is limited")
    if definition.rate is not None:
        rates.rates_for(f"job {definition.name} has a rate")


def _refuse_undeclared(call: Call, target: Adapter) -> None:
    """``UnsupportedCapability`` for what the job or its options want and the queue cannot do."""
    definition = call.definition
    if call.options.due_at is not None:
        adapter.require(target, "delay", f"wait for job {definition.name}")
    if definition.keep_result:
        adapter.require(target, "results", f"keep_result of job {definition.name}")
    if definition.has_priority_of_retries:
        adapter.require(target, "priority", f"the priority that retry_on declares for job {definition.name}")
