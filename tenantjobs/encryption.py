"""Arguments that only their tenant's key opens: sealed where a job is enqueued, and opened when it is performed.

AES-256-GCM, with the tenant, the id and the name of the job as associated data: what is put into the envelope of
another job does not open there. The keys are the user's, by a callable that gives those of a tenant, newest first.
"""

from __future__ import annotations

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import cache
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, Literal

import msgspec

from tenantjobs import checks, importing, runtime
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError, Undecipherable
from tenantjobs.signer import unambiguous

KEY_LENGTH = 32  # bytes
NONCE_LENGTH = 12
FORMAT = "tj1"
ARGUMENTS = "arguments"

_text = msgspec.json.Decoder(str)

Keyring = Callable[[str | None], Any]


def is_on() -> bool:
    """Whether arguments are encrypted."""
    return runtime.settings().encryption is not None


def keyring() -> Keyring | None:
    """The callable of ``[encryption] keys``, None where nothing is encrypted; ``ConfigurationError`` if it is none."""
    settings = runtime.settings().encryption
    if settings is None:
        return None
    found: Any = importing.named("encryption", "keys", settings.keys) if settings.names_keys else settings.keys
    if not callable(found) or iscoroutinefunction(found):
        raise ConfigurationError(
            f"{importing.place('encryption', 'keys')}: a function that takes the id of a tenant and returns its keys "
            f"is wanted, not {type(found).__name__ if not callable(found) else 'one to await'}"
        )
    _aesgcm()
    ring: Keyring = found
    return ring


def sealed(text: bytes, tenant_id: str | None, job_id: str, name: str, *, of: str = ARGUMENTS) -> bytes:
    """The arguments as they travel, or what else is said, a JSON text; ``EnqueueError`` if the tenant has no key."""
    ring = keyring()
    if ring is None:
        return text
    keys = _keys(ring, tenant_id)
    if not keys:
        raise EnqueueError(
            f"job {name}: {_whose(tenant_id)} has no key to encrypt the {of} with, by [encryption] keys: give it "
            f"one, or do not enqueue for it any more. Nothing was stored"
        )
    key_id, key = next(iter(keys.items()))
    nonce = os.urandom(NONCE_LENGTH)
    sealed = nonce + _aesgcm()(key).encrypt(nonce, text, _bound_to(tenant_id, job_id, name, of))
    return f'"{FORMAT}:{key_id}:{b2a_base64(sealed, newline=False).decode()}"'.encode()


def is_sealed(envelope: Envelope) -> bool:
    """True for arguments that have to be opened: a text, where others are a list."""
    return is_sealed_text(bytes(envelope.arguments))


def is_sealed_text(text: bytes) -> bool:
    """The same of the JSON text itself."""
    return text.startswith(b'"')


def clear(envelope: Envelope) -> bytes | msgspec.Raw:
    """The arguments in clear, however they travel; errors as those of ``opened``."""
    return opened(envelope) if is_sealed(envelope) else envelope.arguments


def opened(envelope: Envelope) -> bytes:
    """The arguments in clear; ``Undecipherable`` if the tenant has no key for them, or they are another job's.

    What the keyring raises is raised, save ``LookupError``: it has no key.
    """
    return opened_text(envelope.arguments, envelope.tenant_id, envelope.id, envelope.name)


def opened_text(
    sealed: bytes | msgspec.Raw, tenant_id: str | None, job_id: str, name: str, *, of: str = ARGUMENTS
) -> bytes:
    """The same of what ``sealed`` has made."""
    job = f"job {name} id={job_id}"
    ring = keyring()
    if ring is None:
        raise Undecipherable(
            f"{job}: its {of} are encrypted, and this process has no [encryption] keys: configure them as where "
            f"it was enqueued"
        )
    try:
        form, _, rest = _text.decode(sealed).partition(":")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecipherable(f"{job}: its {of} are no text that we have written") from error
    key_id, _, text = rest.partition(":")
    if form != FORMAT:
        raise Undecipherable(f"{job}: its {of} are {form[:20]!r}, which this version of tenantjobs does not open")
    keys = _keys(ring, tenant_id)
    if key_id not in keys:
        known = ", ".join(keys) or "none at all"
        raise Undecipherable(
            f"{job}: its {of} are encrypted with the key {key_id[:16]!r} of {_whose(tenant_id)}, and the "
            f"keyring has {known}: it was rotated out before the job was done, or destroyed. Nobody can read them"
        )
    try:
        data = a2b_base64(text, strict_mode=True)
        if b2a_base64(data, newline=False).decode() != text:
            raise ValueError("the last character has bits that nothing is made of")  # and nobody has written it so
        bound_to = _bound_to(tenant_id, job_id, name, of)
        text_in_clear: bytes = _aesgcm()(keys[key_id]).decrypt(data[:NONCE_LENGTH], data[NONCE_LENGTH:], bound_to)
    except (ValueError, import_module("cryptography.exceptions").InvalidTag) as error:
        raise Undecipherable(
            f"{job}: its {of} do not open with the key {key_id} of {_whose(tenant_id)}: they were "
            f"changed on their way, or belong to another job"
        ) from error
    return text_in_clear


def destroy(tenant_id: str) -> Literal["destroyed", "left", "none"]:
    """Have the keyring destroy the keys of a tenant, if it has a method ``destroy``; what it has of them after that.

    "none" where nothing is encrypted. What the keyring raises is raised.
    """
    ring = keyring()
    if ring is None:
        return "none"
    destroys = getattr(ring, "destroy", None)
    if destroys is not None:
        if iscoroutinefunction(destroys):
            raise ConfigurationError("[encryption] keys: destroy(tenant_id) is called, and not awaited")
        destroys(tenant_id)
    return "left" if _keys(ring, tenant_id) else "destroyed"


def key_id(key: bytes) -> str:
    """By which a message names a key, and tells nothing of it."""
    digest: str = import_module("hashlib").sha256(b"tenantjobs key id" + key).hexdigest()
    return digest[:16]


def _keys(ring: Keyring, tenant_id: str | None) -> dict[str, bytes]:
    """The keys of a tenant by their ids, newest first; none where the keyring knows none."""
    try:
        found = ring(tenant_id)
    except LookupError:
        return {}
    keys = [found] if isinstance(found, bytes) else list(found or ())
    for place, key in enumerate(keys, start=1):
        if not isinstance(key, bytes) or len(key) != KEY_LENGTH:
            wrong = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
            raise ConfigurationError(
                f"[encryption] keys: key number {place} of {_whose(tenant_id)} is {wrong}, and {KEY_LENGTH} bytes are "
                f"wanted, as os.urandom({KEY_LENGTH}) makes"
            )
    return {key_id(key): key for key in keys}


def _bound_to(tenant_id: str | None, job_id: str, name: str, of: str) -> bytes:
    parts = [FORMAT, "no tenant" if tenant_id is None else "tenant", tenant_id or "", job_id, name]
    return unambiguous(parts if of == ARGUMENTS else [*parts, of])


def _whose(tenant_id: str | None) -> str:
    return "None, which stands for no tenant," if tenant_id is None else f"tenant {tenant_id}"


@cache
def _aesgcm() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"[encryption] cannot be used: {error}; pip install 'tenantjobs[crypto]'") from error


def _check() -> list[str]:
    try:
        keyring()
    except ConfigurationError as error:
        return [str(error)]
    return []


checks.register(_check)
