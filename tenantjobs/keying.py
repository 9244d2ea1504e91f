"""The keys of a job's guards, computed where the tenant and the arguments are at hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from tenantjobs import identity, limits, rates
from tenantjobs.definition import Definition
from tenantjobs.errors import SerializationError
from tenantjobs.idempotency import idempotent
from tenantjobs.limits import limits_concurrency
from tenantjobs.rates import limits_rate
from tenantjobs.uniqueness import unique


def keys(
    job: Definition, tenant: str | None, given: tuple[Any, ...], kwargs: dict[str, Any], arguments: bytes
) -> dict[str, str]:
    """What is sealed in the envelope. ``given`` is the job object, if there is one, and then the arguments."""
    found = {}
    if job.idempotent is not None:
        found["idempotent"] = idempotency_key(job, job.idempotent, given, kwargs, arguments)
    if job.unique is not None:
        found["unique"] = unique_key(job, job.unique, given, kwargs, arguments)
    if job.limit is not None:
        found[limits.KEY] = limit_key(job, job.limit, tenant, given, kwargs)
    if job.rate is not None:
        found[rates.KEY] = rate_key(job, job.rate, tenant, given, kwargs)
    return found


def idempotency_key(
    job: Definition, policy: idempotent, given: tuple[Any, ...], kwargs: dict[str, Any], arguments: bytes
) -> str:
    """The key of the effect, which other jobs may share if its callable says so."""
    if policy.key is None:
        return f"{job.name}:{_digest(arguments)}"
    return _computed(job, "idempotency key", policy.key, given, kwargs)


def unique_key(
    job: Definition, policy: unique, given: tuple[Any, ...], kwargs: dict[str, Any], arguments: bytes
) -> str:
    """The key of the lock: the job's own, in an encoding that no other name and key come out as."""
    own = _digest(arguments) if policy.key is None else _computed(job, "unique key", policy.key, given, kwargs)
    return msgspec.json.encode([job.name, own]).decode()


def limit_key(
    job: Definition, policy: limits_concurrency, tenant: str | None, given: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """What the permits are counted by: the tenant or none for all of them, the group, and the key or none."""
    own = None if policy.key is None else _computed(job, "key of its limit", policy.key, given, kwargs)
    counted_for = (tenant or "") if policy.per_tenant else None
    return msgspec.json.encode([counted_for, policy.group or job.name, own]).decode()


def rate_key(
    job: Definition, policy: limits_rate, tenant: str | None, given: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """What the starts are counted by: the tenant or none for all of them, the group, and the key or none."""
    own = None if policy.key is None else _computed(job, "key of its rate", policy.key, given, kwargs)
    counted_for = (tenant or "") if policy.per_tenant else None
    return msgspec.json.encode([counted_for, policy.group or job.name, own]).decode()


def _computed(
    job: Definition, what: str, key: Callable[..., object], given: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    try:
        return _key_text(job, what, key(*given, **kwargs))
    except SerializationError:
        raise
    except Exception as error:
        # As that of a record whose session is closed, and that has nothing left to read.
        raise SerializationError(
            f"job {job.name}: its {what} could not be computed from the arguments of the call: "
            f"{type(error).__name__}: {error}"
        ) from error


def _key_text(job: Definition, what: str, key: object) -> str:
    wanted = f"job {job.name}: the {what} must be a text, a number or a saved record, and came out as"
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
