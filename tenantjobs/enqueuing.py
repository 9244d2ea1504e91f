"""From a call to the queue: freeze the arguments and the context, seal them, and send them when it is right to."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, TypeVar

import msgspec

from tenantjobs import adapter, clock, identity, inbox, runtime, signing, transaction
from tenantjobs.adapter import Adapter
from tenantjobs.arguments import Frozen, freeze, thaw
from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition, require_registered
from tenantjobs.envelope import Envelope, new_id
from tenantjobs.errors import ConfigurationError, SerializationError, TenantMissing, WrongTenant
from tenantjobs.handle import Handle
from tenantjobs.identity import GlobalId
from tenantjobs.policies import check_options

logger = logging.getLogger("tenantjobs.enqueuing")

T = TypeVar("T")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What ``set(...)`` overrides for one call."""

    queue: str | None = None
    priority: int | None = None
    due_at: datetime | None = None


NO_OPTIONS = Options()


class Call(msgspec.Struct, frozen=True):
    """A job with its arguments, not enqueued yet."""

    definition: Definition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options = NO_OPTIONS


class Message:
    """A job between the call and the queue; an open transaction may hold it."""

    __slots__ = ("_call", "_enqueued_at", "_frozen", "_queue", "_sealed", "_snapshot", "handle")

    def __init__(self, call: Call, target: Adapter) -> None:
        definition = call.definition
        require_registered(definition)
        self._call = call
        self._frozen = freeze(definition.signature, call.args, call.kwargs, job=definition.name, types=definition.types)
        self._snapshot = _context(definition)
        _refuse_foreign(definition, self._frozen, self._snapshot)
        _refuse_undeclared(target, call)
        if definition.transactional and not target.capabilities.transactional:
            inbox.require(definition.name)
        self._enqueued_at = clock.now()
        self.handle = Handle(new_id(), definition.name, target)
        self._queue = _queue(call)
        # Values are fixed at the call. Only the key of a record that is still to be flushed comes later.
        self._sealed = None if self._frozen.pending else self._seal()

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

    def seal(self) -> Envelope:
        """The envelope, with the keys that the last flush gave to pending records."""
        if self._sealed is None:
            self._sealed = self._seal()
        return self._sealed

    def sent(self) -> None:
        self.handle.enqueued = True
        logger.debug("enqueued %s id=%s tenant=%s", self.name, self.job_id, self._snapshot.tenant_id)

    def dropped(self, reason: str) -> None:
        self.handle.enqueued = False
        logger.debug("dropped %s id=%s: %s", self.name, self.job_id, reason)

    def failed(self, error: Exception) -> None:
        self.handle.enqueued = False
        self.handle.enqueue_error = error
        logger.error("%s id=%s was not enqueued", self.name, self.job_id, exc_info=error)

    def _seal(self) -> Envelope:
        definition, options = self._call.definition, self._call.options
        arguments = self._frozen.seal()
        unsigned = Envelope(
            id=self.handle.job_id,
            name=definition.name,
            queue=self._queue,
            priority=definition.priority if options.priority is None else options.priority,
            context=msgspec.Raw(self._snapshot.encode()),
            arguments=msgspec.Raw(arguments),
            enqueued_at=self._enqueued_at,
            due_at=options.due_at,
            keys=self._keys(arguments),
        )
        envelope = signing.signed(unsigned)
        _refuse_oversize(envelope)
        return envelope

    def _keys(self, arguments: bytes) -> dict[str, str]:
        if not self._frozen.pending:
            return keys(self._call, arguments)
        # A record had no key at the call: computed now, and yet for the tenant and the values of the call.
        thawed = thaw(arguments, self._call.definition.types)
        records = {identity.identify(record): record for record in self._frozen.references}
        args, kwargs = thawed.fill({gid: record for gid, record in records.items() if isinstance(gid, GlobalId)})
        with Current.restored(self._snapshot):
            return keys(msgspec.structs.replace(self._call, args=args, kwargs=kwargs), arguments)


def enqueue(call: Call) -> Handle:
    """Enqueue now, or with the open transaction of this context."""
    target = adapter.configured()
    message = Message(call, target)
    if not _held([message], target):
        target.enqueue(message.seal())
        message.sent()
    return message.handle


def aenqueue(call: Call) -> Coroutine[Any, Any, Handle]:
    """The same, without blocking the event loop. Tenant and arguments are those of the call, not of the await."""
    target = adapter.configured()
    message = Message(call, target)
    return _arrived(_not_held([message], target), target, message.handle)


def enqueue_all(calls: Sequence[Call]) -> list[Handle]:
    """Enqueue many jobs in one round trip where the adapter can; nothing is stored if one of them is refused."""
    target = adapter.configured()
    messages = [Message(call, target) for call in calls]
    leaving = _not_held(messages, target)
    if leaving:
        target.enqueue_all([message.seal() for message in leaving])
        _sent(leaving)
    return [message.handle for message in messages]


def aenqueue_all(calls: Sequence[Call]) -> Coroutine[Any, Any, list[Handle]]:
    """The same, without blocking the event loop. Tenant and arguments are those of the call, not of the await."""
    target = adapter.configured()
    messages = [Message(call, target) for call in calls]
    return _arrived(_not_held(messages, target), target, [message.handle for message in messages])


def options(
    *,
    wait: float | timedelta | None = None,
    wait_until: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Options:
    """What ``set(...)`` was given, checked; ``wait_until`` wins over ``wait``."""
    check_options(queue, priority)
    for name, moment, kinds in (("wait", wait, (int, float, timedelta)), ("wait_until", wait_until, (datetime,))):
        if moment is not None and not isinstance(moment, kinds):
            raise ConfigurationError(f"{name}={moment!r}: {' or '.join(kind.__name__ for kind in kinds)} is wanted")
    if wait_until is not None:
        if wait_until.tzinfo is None:
            raise ConfigurationError(
                f"wait_until={wait_until!r} has no time zone, so it is no moment: give it one, as in "
                f"datetime(..., tzinfo=UTC)"
            )
        due_at = wait_until.astimezone(UTC)
    elif wait is not None:
        due_at = clock.now() + (wait if isinstance(wait, timedelta) else timedelta(seconds=wait))
    else:
        due_at = None
    return Options(queue=queue, priority=priority, due_at=due_at)


def keys(call: Call, arguments: bytes) -> dict[str, str]:
    """The keys of the job's guards, computed where the tenant and the arguments are at hand."""
    policy = call.definition.idempotent
    if policy is None:
        return {}
    if policy.key is None:
        return {"idempotent": f"{call.definition.name}:{_digest(arguments)}"}
    try:
        key = policy.key(*call.definition.leading(), *call.args, **call.kwargs)
    except Exception as error:
        # As that of a record whose session is closed, and that has nothing left to read.
        raise SerializationError(
            f"job {call.definition.name}: its idempotency key could not be computed from the arguments of the call: "
            f"{type(error).__name__}: {error}"
        ) from error
    return {"idempotent": _key_text(call, key)}


def _held(messages: Sequence[Message], target: Adapter) -> bool:
    return not _not_held(messages, target)


def _not_held(messages: Sequence[Message], target: Adapter) -> list[Message]:
    """Those that leave now; the open transaction of this context takes the others."""
    waiting = [message for message in messages if message._call.definition.enqueue_after_commit]
    leaving = [message for message in messages if not message._call.definition.enqueue_after_commit]
    if leaving:
        transaction.refuse_obstacle(leaving[0].name, target)
    if waiting and transaction.hold(waiting, target):
        return leaving
    return list(messages)


def _sent(messages: Sequence[Message]) -> None:
    for message in messages:
        message.sent()


def _context(definition: Definition) -> Snapshot:
    snapshot = Current.capture()
    if definition.tenancy == "none":
        return system_scope(definition, snapshot)
    if snapshot.scope == "unset":
        require_scope(definition, "enqueued")
    return snapshot


def system_scope(definition: Definition, snapshot: Snapshot) -> Snapshot:
    """The scope of a job with ``tenancy = "none"``: the system's, with the attributes that were set."""
    return Snapshot(system=f"job {definition.name}", attributes=snapshot.attributes)


def require_scope(definition: Definition, verb: str) -> None:
    """What an unset scope means for this job: TenantMissing, a warning, or nothing."""
    if definition.tenancy == "required":
        raise TenantMissing(
            f"job {definition.name} was {verb} without a tenant. Set one around the call "
            f"(with Current.set(tenant=...)), say that it is for all of them (with Current.system('why')), or declare "
            f"tenancy='none' or 'optional' on the job"
        )
    if definition.tenancy == "observe":
        logger.warning("job %s was %s without a tenant; tenancy='observe' lets it pass", definition.name, verb)


def _refuse_foreign(definition: Definition, frozen: Frozen, snapshot: Snapshot) -> None:
    for record in frozen.references:
        refuse_foreign(definition, record, snapshot.tenant_id)


def refuse_foreign(definition: Definition, record: object, tenant_id: str | None) -> None:
    """WrongTenant for a record that belongs to another tenant than ``tenant_id``."""
    if tenant_id is None:
        return
    owner = identity.tenant_of(record)
    if owner is not None and owner != tenant_id:
        raise WrongTenant(
            f"job {definition.name} for tenant {tenant_id} was given {type(record).__name__} of tenant {owner}: "
            f"pass a record of the current tenant, or work for the other one under Current.switch(...)"
        )


def _refuse_undeclared(target: Adapter, call: Call) -> None:
    name, asked = call.definition.name, call.options
    if asked.due_at is not None:
        adapter.require(target, "delay", f"wait for job {name}")
    if asked.priority or call.definition.priority:
        adapter.require(target, "priority", f"priority for job {name}")


def _refuse_oversize(envelope: Envelope) -> None:
    limit = runtime.settings().size_limit
    # The rest of an envelope is small: encoding it a second time is only worth it near the limit.
    named = len(envelope.queue) + sum(map(len, envelope.keys.values()))
    if len(envelope.arguments) + len(envelope.context) + 6 * named + 4096 > limit:
        size = len(envelope.encode())
        if size > limit:
            raise SerializationError(
                f"job {envelope.name} would travel as {size:,} bytes, over the limit of {limit:,}: "
                f"store the data and pass its key, or raise size_limit"
            )


def _queue(call: Call) -> str:
    if call.options.queue is not None:
        return call.options.queue
    definition = call.definition
    if definition.choose_queue is not None:
        chosen = definition.choose_queue(*definition.leading(), *call.args, **call.kwargs)
        check_options(chosen or "", None)
        return chosen
    return definition.queue


def _key_text(call: Call, key: object) -> str:
    wanted = (
        f"job {call.definition.name}: the idempotency key must be a text, a number or a saved record, and came out as"
    )
    if isinstance(key, str):
        text = key
    elif isinstance(key, int) and not isinstance(key, bool):
        text = str(key)
    else:
        found = identity.identify(key)
        if not isinstance(found, identity.GlobalId):
            raise SerializationError(f"{wanted} {type(key).__name__}")
        text = str(found)
    if not text or text != text.encode(errors="ignore").decode():
        raise SerializationError(f"{wanted} {text!r}")
    return text


def _digest(data: bytes) -> str:
    # OpenSSL is loaded by whoever needs it; importing it here would cost every importer of tenantjobs.
    digest: str = import_module("hashlib").sha256(data).hexdigest()
    return digest


async def _arrived(leaving: Sequence[Message], target: Adapter, handles: T) -> T:
    if leaving:
        await _in_thread(target.enqueue_all, [message.seal() for message in leaving])
        _sent(leaving)
    return handles


async def _in_thread(function: Any, *args: Any) -> Any:
    # asyncio is loaded by whoever runs a loop; importing it here would cost every importer of tenantjobs.
    return await import_module("asyncio").to_thread(function, *args)
