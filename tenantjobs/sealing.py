"""The envelope of a job, of what was true at its call: signed, encrypted, with its keys, and with what follows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from tenantjobs import encryption, identity, keying, links, runtime, signing
from tenantjobs.arguments import Frozen, thaw
from tenantjobs.call import Call
from tenantjobs.current import Current, Snapshot
from tenantjobs.envelope import Envelope
from tenantjobs.errors import SerializationError
from tenantjobs.identity import GlobalId


def sealed(
    call: Call,
    frozen: Frozen,
    snapshot: Snapshot,
    *,
    job_id: str,
    queue: str,
    priority: int,
    enqueued_at: datetime,
    given: tuple[Any, ...] = (),
    keys: dict[str, str] | None = None,
    chain: tuple[msgspec.Raw, ...] = (),
) -> Envelope:
    """``SerializationError`` if it is over the limit. ``given`` is the object of the job, if there is one, and then its
    arguments; ``chain`` are the links of what comes after it.
    """
    definition, arguments = call.definition, frozen.seal()
    name, keys = definition.name, keys or {}
    if definition.has_keys:
        keys = keys | _keys(call, frozen, snapshot, given, arguments)
    unsigned = Envelope(
        id=job_id,
        name=name,
        queue=queue,
        priority=priority,
        context=msgspec.Raw(snapshot.encode()),
        arguments=msgspec.Raw(encryption.sealed(arguments, snapshot.tenant_id, job_id, name)),
        enqueued_at=enqueued_at,
        due_at=call.options.due_at,
        keys=keys,
        chain=chain,
    )
    envelope = signing.signed(unsigned)
    vars(envelope)["snapshot"] = snapshot  # else it would be read from the context
    _refuse_oversize(envelope)
    return envelope


def link(envelope: Envelope, waits: timedelta | None) -> msgspec.Raw:
    """It as a link of a chain: its time to wait begins when it is its turn."""
    if waits is not None:
        envelope = msgspec.structs.replace(envelope, due_at=None)
    return links.sealed(envelope, waits)


def _keys(call: Call, frozen: Frozen, snapshot: Snapshot, given: tuple[Any, ...], arguments: bytes) -> dict[str, str]:
    definition, tenant = call.definition, snapshot.tenant_id
    if not frozen.pending:
        return keying.keys(definition, tenant, given, call.kwargs, arguments)
    # A record had no key at the call: computed now, and yet for the tenant and the values of the call.
    thawed = thaw(arguments, definition.types)
    records = {identity.identify(record): record for record in frozen.references}
    args, kwargs = thawed.fill({gid: record for gid, record in records.items() if isinstance(gid, GlobalId)})
    with Current.restored(snapshot):
        return keying.keys(definition, tenant, (*definition.leading(), *args), kwargs, arguments)


def _refuse_oversize(envelope: Envelope) -> None:
    limit = runtime.settings().size_limit
    # The rest of an envelope is small: encoding it a second time is only worth it near the limit.
    most = len(envelope.arguments) + len(envelope.context) + 6 * len(envelope.queue) + 4096
    if envelope.keys:
        most += 6 * sum(map(len, envelope.keys.values()))
    if envelope.chain:
        most += sum(map(len, envelope.chain))
    if most > limit:
        size = len(envelope.encode())
        if size > limit:
            raise SerializationError(
                f"job {envelope.name} would travel as {size:,} bytes, over the limit of {limit:,}: "
                f"store the data and pass its key, or raise size_limit"
            )
