"""The keys of a job's guards, computed where the tenant and the arguments are at hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tenantjobs import identity
from tenantjobs.definition import Definition
from tenantjobs.errors import SerializationError


def keys(job: Definition, given: tuple[Any, ...], kwargs: dict[str, Any], arguments: bytes) -> dict[str, str]:
    """What is sealed in the envelope. ``given`` is the job object, if there is one, and then the arguments."""
    policy = job.idempotent
    if policy is None:
        return {}
    if policy.key is None:
        return {"idempotent": f"{job.name}:{_digest(arguments)}"}
    try:
        key = policy.key(*given, **kwargs)
    except Exception as error:
        # As that of a record whose session is closed, and that has nothing left to read.
        raise SerializationError(
            f"job {job.name}: its idempotency key could not be computed from the arguments of the call: "
            f"{type(error).__name__}: {error}"
        ) from error
    return {"idempotent": _key_text(job, key)}


def _key_text(job: Definition, key: object) -> str:
    wanted = f"job {job.name}: the idempotency key must be a text, a number or a saved record, and came out as"
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
