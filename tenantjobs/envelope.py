"""What travels through a queue: one job, its context and its arguments, frozen and versioned."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import datetime
from functools import cached_property
from typing import Annotated

import msgspec

from tenantjobs.bookmark import Bookmark
from tenantjobs.errors import EnvelopeError, UnknownVersion
from tenantjobs.snapshot import Snapshot

VERSION = 1
_LAST = 0xFFFF_FFFF_FFFF  # 48 bits
_BEGINNINGS = frozenset(('{"v":1,', b'{"v":1,'))  # of what ``encode`` writes

Name = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """One job on its way. ``context`` and ``arguments`` are JSON that stays byte for byte the same through retries.

    ``chain`` are the jobs that follow it when it has succeeded, each as a ``Link``.
    """

    # A factory, because omit_defaults leaves a plain default out of the message.
    version: int = msgspec.field(name="v", default_factory=lambda: VERSION)
    id: Name
    name: Name
    queue: Name = "default"
    priority: int = 0
    context: msgspec.Raw
    arguments: msgspec.Raw
    enqueued_at: Moment
    due_at: Moment | None = None
    attempt: Count = 0
    counters: dict[str, Count] = {}
    keys: dict[str, str] = {}
    bookmark: Bookmark | None = None
    chain: tuple[msgspec.Raw, ...] = ()
    signature: str | None = msgspec.field(name="sig", default=None)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The scope in which the job was enqueued; ``EnvelopeError`` if the context is not one."""
        return Snapshot.decode(self.context)

    @property
    def tenant_id(self) -> str | None:
        """The tenant of that scope, None if there was none."""
        return self.snapshot.tenant_id

    def charged(self, attempts: int) -> Envelope:
        """The same with so many attempts more, or fewer."""
        copy = msgspec.structs.replace(self, attempt=self.attempt + attempts)
        vars(copy)["snapshot"] = self.snapshot  # else it would be read from the context once more
        return copy

    def encode(self) -> bytes:
        """The JSON text of the envelope."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes | str | memoryview) -> Envelope:
        """The envelope that ``data`` is the text of.

        ``UnknownVersion`` if another version wrote it, ``EnvelopeError`` for anything else that is not an envelope.
        """
        try:
            # A view may change under the context and the arguments, which are kept as slices of the text.
            text = bytes(data) if isinstance(data, memoryview) else data
            if text[:7] not in _BEGINNINGS:
                _require_version(_versioned.decode(text).version)  # what another one writes may look like anything
            envelope = _decoder.decode(text)
            _require_version(envelope.version)
            # Read now: nobody may run a job whose tenant cannot be read. As cached_property would do it, which locks.
            vars(envelope)["snapshot"] = Snapshot.decode(envelope.context)
            return envelope
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise EnvelopeError(f"this is not an envelope: {error!s:.300}; it starts with {_start(data)}") from error


def new_id() -> str:
    """A new job id: a UUIDv7, greater than every one before it in this process."""
    return _ids.next()


def known_id(text: str) -> str:
    """An id that ``new_id`` may have made, as it writes it; ValueError for what is none."""
    return str(uuid.UUID(text))


class _Versioned(msgspec.Struct):
    version: int = msgspec.field(name="v")


def _require_version(version: int) -> None:
    if version != VERSION:
        raise UnknownVersion(
            f"the envelope has version {version}, and this worker knows version {VERSION}: deploy the workers "
            "before what enqueues for them, then release it from quarantine"
        )


class _Ids:
    """UUIDs of version 7 that only grow, also within one millisecond and when the clock is set back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._tail = 0
        self._start = ""  # all but the last 48 bits, which are all that changes within a millisecond

    def next(self) -> str:
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                self._tail = int.from_bytes(os.urandom(9))  # 72 of the 74 bits: room to count upwards in
                self._start = self._started()
            else:
                self._tail += 1
                if not self._tail & _LAST:
                    self._start = self._started()
            return f"{self._start}{self._tail & _LAST:012x}"

    def _started(self) -> str:
        # As four numbers: 48 bits of time, the version and 12 bits, the variant and 14 bits.
        time_high, time_low = self._millisecond >> 16, self._millisecond & 0xFFFF
        versioned, variant = 0x7000 | self._tail >> 62, 0x8000 | self._tail >> 48 & 0x3FFF
        return f"{time_high:08x}-{time_low:04x}-{versioned:04x}-{variant:04x}-"


def _renew_ids() -> None:
    """A forked child starts over: it would count on from its parent's number, perhaps with the lock held for ever."""
    global _ids
    _ids = _Ids()


def _start(data: object) -> str:
    start = data[:60] if isinstance(data, (bytes, str, memoryview)) else data
    return repr(bytes(start) if isinstance(start, memoryview) else start)[:80]


_ids = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_ids)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
_versioned = msgspec.json.Decoder(_Versioned)
