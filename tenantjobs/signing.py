"""Signatures of envelopes: what comes off a queue was enqueued by us, for this tenant and this job, and is as it was.

A signature covers the id, the name and the tenant of a job, the key that made it, and the digests of its context, its
arguments, the keys of its guards and its batch, and the jobs that follow it in a chain. What a retry changes -
counters, attempt, queue, priority, due time - is not covered: it stays the same through all attempts.
"""

from __future__ import annotations

import msgspec

from tenantjobs.envelope import Envelope
from tenantjobs.signer import Part, Signer, configured, unambiguous


def signed(envelope: Envelope) -> Envelope:
    """The envelope with its signature, where there are keys."""
    signer = configured()
    if signer is None:
        return envelope
    return msgspec.structs.replace(envelope, signature=signer.sign("envelope", _covered(signer, envelope)))


def verify(envelope: Envelope) -> None:
    """``BadSignature`` unless the envelope is as one of us has signed it."""
    signer = configured()
    if signer is not None:
        what = f"job {envelope.name:.100} id={envelope.id:.100} tenant={envelope.tenant_id!s:.100}"
        signer.verify(envelope.signature, "envelope", _covered(signer, envelope), what)


def _covered(signer: Signer, envelope: Envelope) -> list[Part]:
    guards = [part for name in sorted(envelope.keys) for part in (name, envelope.keys[name])]
    return [
        envelope.id,
        envelope.name,
        envelope.tenant_id or "",
        signer.digest(envelope.context),
        signer.digest(envelope.arguments),
        signer.digest(unambiguous(guards)),
        *((signer.digest(unambiguous([bytes(link) for link in envelope.chain])),) if envelope.chain else ()),
    ]
