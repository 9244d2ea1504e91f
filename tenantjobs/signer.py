"""The keys of this process, and what it signs with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import msgspec

from tenantjobs import runtime
from tenantjobs.config import SigningSettings
from tenantjobs.errors import BadSignature

logger = logging.getLogger("tenantjobs.signing")

Part = str | bytes


class Signer:
    """Signs with the first of its keys, and accepts what any of them has signed."""

    def __init__(self, settings: SigningSettings) -> None:
        self.mode = settings.mode
        self.remember = settings.remember if settings.mode == "enforce" else 0.0
        self._secrets = dict(settings.pairs())
        self._signs_with = next(iter(self._secrets))
        # OpenSSL is loaded by whoever signs; importing it above would cost every importer of tenantjobs.
        self._hashlib: Any = import_module("hashlib")
        self._hmac: Any = import_module("hmac")

    def sign(self, purpose: str, parts: Sequence[Part]) -> str:
        """The signature of these parts for this purpose: the id of the key, and the code that it makes of them."""
        return f"{self._signs_with}:{self._code(self._signs_with, purpose, parts)}"

    def verify(self, signature: str | None, purpose: str, parts: Sequence[Part], what: str) -> None:
        """``BadSignature``, which says of ``what`` it is; with the mode ``"observe"`` only a warning."""
        problem = self._problem(signature, purpose, parts)
        if problem is None:
            return
        if self.mode == "observe":
            logger.warning("%s %s. It runs, because [signing] mode is 'observe'", what, problem)
            return
        raise BadSignature(f"{what} {problem}")

    def digest(self, data: bytes | msgspec.Raw) -> bytes:
        """A short text of fixed length that stands for ``data``."""
        digest: bytes = self._hashlib.sha256(data).digest()
        return digest

    def _problem(self, signature: str | None, purpose: str, parts: Sequence[Part]) -> str | None:
        if signature is None:
            return (
                "is not signed: whoever enqueued it does not know [signing], or is not one of us. While a roll-out has "
                "not reached every process, set mode = 'observe'"
            )
        key, _, code = signature.partition(":")
        if key not in self._secrets:
            known = ", ".join(self._secrets)
            return (
                f"is signed with the key {key[:80]!r}, and [signing] knows {known}: it was retired, or is not there yet"
            )
        if not self._hmac.compare_digest(_bytes(code), self._code(key, purpose, parts).encode()):
            return f"was not signed with our key {key!r} as it is: it was forged, or changed on its way"
        return None

    def _code(self, key: str, purpose: str, parts: Sequence[Part]) -> str:
        code: bytes = self._hmac.digest(self._secrets[key], unambiguous([purpose, key, *parts]), "sha256")
        return code.hex()


def configured() -> Signer | None:
    """The signer of this process; None where nothing is signed."""
    kept = _kept  # each message asks
    if not kept:
        settings = runtime.settings().signing
        kept.append(None if settings is None or settings.mode == "off" else Signer(settings))
    return kept[0]


def unambiguous(parts: Sequence[Part]) -> bytes:
    """The parts as one text that no other parts make: each behind its length."""
    return b"".join(len(part).to_bytes(4) + part for part in map(_bytes, parts))


def _bytes(part: Part) -> bytes:
    # What came off a queue may hold halves of characters.
    return part if isinstance(part, bytes) else part.encode(errors="surrogatepass")


def _forget(_changed: frozenset[str]) -> None:
    """Keep the next one elsewhere: who has begun with the settings of before may still keep what they say."""
    global _kept
    _kept = []


_kept: list[Signer | None] = []
runtime.on_change(_forget)
