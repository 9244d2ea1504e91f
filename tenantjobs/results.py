"""What a job has returned, kept for those who ask, where it says ``keep_result=True``.

A result is in the database of the queue, and no signature covers it: it is a plain value. It is encrypted where
arguments are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tenantjobs import encryption, plain, runtime
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ArgumentError, JobGone, NoResult, SerializationError, UnsupportedCapability
from tenantjobs.tenancy import visible_tenant
from tenantjobs.upkeep import MISSING
from tenantjobs.view import RUNNING, KeepsResults, KeptResult

OF = "results"  # what is encrypted


def sealed(value: object, envelope: Envelope) -> str:
    """What a job has returned, as it is kept; ``SerializationError`` if it is no plain value, or too large."""
    what = f"job {envelope.name} id={envelope.id}: what it returned"
    # In a list, which what is encrypted is not.
    text = _encoder.encode([plain.freeze(value, what)])
    limit = runtime.settings().size_limit
    if len(text) > limit:
        raise SerializationError(
            f"{what} is {len(text):,} bytes, over the limit of {limit:,}: store the data, and return its key"
        )
    return encryption.sealed(text, envelope.tenant_id, envelope.id, envelope.name, of=OF).decode()


def value(kept: KeptResult) -> Any:
    """What the job has returned; errors as those of ``tree``."""
    return plain.thaw(tree(kept), f"job {kept.name} id={kept.id}: its result")


def tree(kept: KeptResult) -> Any:
    """The same as the tree of JSON that it was kept as.

    ``NoResult`` if there is none, ``Undecipherable`` if it does not open here.
    """
    if kept.text is None:
        raise NoResult(_why_there_is_none(kept))
    text = kept.text.encode()
    if encryption.is_sealed_text(text):
        text = encryption.opened_text(text, kept.tenant_id, kept.id, kept.name, of=OF)
    try:
        (found,) = _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ArgumentError(f"job {kept.name} id={kept.id}: its result cannot be read: {error!s:.300}") from error
    return found


def read(queue: object, job_id: str) -> Any:
    """The same by the id of a job in ``queue``, for those who may see it: ``JobGone`` for the others."""
    if not isinstance(queue, KeepsResults):
        raise UnsupportedCapability(f"{type(queue).__name__} keeps no results of its jobs")
    kept = queue.result(job_id)
    tenant = visible_tenant("the result of a job was")
    if kept is None or tenant not in (None, kept.tenant_id or ""):
        raise JobGone(MISSING.format(job_id))
    return value(kept)


def _why_there_is_none(kept: KeptResult) -> str:
    because = f": {kept.reason}" if kept.reason else ""
    where = "runs" if kept.state == RUNNING else f"is {kept.state}{because}"
    return (
        f"job {kept.name} id={kept.id} {where}, and has no result: one that says keep_result=True has what it returned "
        f"from when it has finished, unless it was skipped"
    )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Any])
