"""A job that is sealed ahead, and enqueued when something else has come to its end: a link of a chain, a callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from tenantjobs import clock
from tenantjobs.envelope import Envelope


class Link(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The envelope, and how many seconds the job is to wait once its turn has come."""

    job: msgspec.Raw
    wait: float | None = None

    @property
    def id(self) -> str:
        return msgspec.json.decode(self.job, type=_Named).id

    def envelope(self, chain: tuple[msgspec.Raw, ...] = ()) -> Envelope:
        """The job now that its turn has come; ``chain`` is what follows it."""
        now = clock.now()
        envelope = Envelope.decode(bytes(self.job))
        due_at = envelope.due_at if self.wait is None else now + timedelta(seconds=self.wait)
        return msgspec.structs.replace(envelope, chain=chain, enqueued_at=now, due_at=due_at)


class _Named(msgspec.Struct):
    id: str


def sealed(envelope: Envelope, wait: timedelta | None) -> msgspec.Raw:
    """The text of a link. What follows the job in a chain is kept beside it, and yet covered by its signature."""
    alone = msgspec.structs.replace(envelope, chain=())
    return msgspec.Raw(
        _encoder.encode(Link(msgspec.Raw(alone.encode()), None if wait is None else wait.total_seconds()))
    )


def opened(text: msgspec.Raw | str) -> Link:
    """The link that ``text`` is of."""
    return _decoder.decode(text)


def following(envelope: Envelope) -> Envelope | None:
    """The job that comes after this one in its chain."""
    if not envelope.chain:
        return None
    return opened(envelope.chain[0]).envelope(envelope.chain[1:])


def batch_id(keys: Mapping[str, str]) -> str | None:
    """The batch that a job with these keys knows: that which calls it back, else that which it is of."""
    return keys.get("callback", keys.get("batch"))


def ids(chain: Sequence[msgspec.Raw]) -> list[str]:
    """The ids of the jobs of a chain."""
    return [opened(link).id for link in chain]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Link)
