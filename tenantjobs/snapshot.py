"""What of the current scope travels: ids and plain values, never objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from tenantjobs.errors import EnvelopeError
from tenantjobs.identity import canonical_id

ScopeName = Literal["tenant", "system", "unset"]
Json = Any

_NOTHING: Mapping[str, Json] = MappingProxyType({})


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, dict=True):
    """A scope as it was when it was captured. False when there was nothing to capture.

    ``attributes`` are JSON trees by name. ``ValueError`` for an id that cannot be the id of a tenant, for a blank
    reason, and for a tenant and a system reason at once.
    """

    tenant_id: str | None = None
    system: str | None = None
    attributes: Mapping[str, Json] = _NOTHING

    def __post_init__(self) -> None:
        if self.tenant_id is not None:
            _put(self, "tenant_id", canonical_id(self.tenant_id))
        if self.system is not None:
            if self.tenant_id is not None:
                raise ValueError(f"a snapshot is of tenant {self.tenant_id} or of system scope, not of both")
            require_reason(self.system, "a snapshot of system scope")
        if self.attributes is not _NOTHING:
            _put(self, "attributes", MappingProxyType(dict(self.attributes)))

    @property
    def scope(self) -> ScopeName:
        """Which of the three states was captured."""
        if self.tenant_id is not None:
            return "tenant"
        else:
            return "unset" if self.system is None else "system"

    def encode(self) -> bytes:
        """The JSON text that travels: the same for equal snapshots, ``{}`` for an empty one."""
        kept = vars(self)
        encoded: bytes | None = kept.get("encoded")
        if encoded is None:
            attributes = {name: self.attributes[name] for name in sorted(self.attributes)} if self.attributes else {}
            encoded = kept["encoded"] = _encoder.encode(_Text(self.tenant_id, self.system, attributes))
        return encoded

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview | str | msgspec.Raw) -> Snapshot:
        """The snapshot that ``data`` is the text of; ``EnvelopeError`` if it is not one."""
        try:
            return _decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise EnvelopeError(f"the context cannot be read: {error!s:.300}") from error

    def __bool__(self) -> bool:
        return self.tenant_id is not None or self.system is not None or bool(self.attributes)

    def __hash__(self) -> int:
        return hash((self.tenant_id, self.system, frozenset(self.attributes)))

    def __reduce__(self) -> tuple[Callable[[bytes], Snapshot], tuple[bytes]]:
        return Snapshot.decode, (self.encode(),)


class _Text(msgspec.Struct, omit_defaults=True):
    """The fields once more, for msgspec does not encode a read-only mapping."""

    tenant_id: str | None = None
    system: str | None = None
    attributes: dict[str, Json] = {}


def require_reason(reason: object, what: str) -> None:
    """``ValueError`` unless ``reason`` says something."""
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"{what} needs a reason that can be read later, as in 'nightly cleanup', not {reason!r}")


EMPTY = Snapshot()

_put = msgspec.structs.force_setattr
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)
