"""What a tenant is, by ``configure(tenant=...)`` or ``configure(tenant_locator=...)``: from object to id, and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any
from uuid import UUID

from tenantjobs import identity, runtime
from tenantjobs.config import Settings
from tenantjobs.errors import (
    ConfigurationError,
    RecordGone,
    RecordUnavailable,
    SerializationError,
    TenantGone,
    TenantjobsError,
    TenantUnavailable,
)
from tenantjobs.identity import GlobalId, canonical_id
from tenantjobs.lately import Lately


def id_of(tenant: object) -> str:
    """The canonical id of a tenant's object.

    ``ValueError`` for None, blanks, 0 and an object that has no id yet; ``TypeError`` for an object that is not a
    tenant; ``ConfigurationError`` where its id has several parts.
    """
    settings = runtime.settings()
    if tenant is None or isinstance(tenant, (str, int, UUID)):
        tenant_id = canonical_id(tenant)
        _require_kind(tenant, settings, f"; for the id of one write tenant_id={tenant!r}")
        return tenant_id
    _require_kind(tenant, settings, "")
    identify = getattr(settings.tenant_locator, "identify", None)
    found = None if identify is None else identify(tenant)
    if found is None:
        found = _recorded(tenant)
    if found is None:
        found = _attribute(tenant)
    return canonical_id(_single(found, tenant) if isinstance(found, GlobalId) else found)


def are_known() -> bool:
    """Whether the configuration says what a tenant is, so that an id can be looked up."""
    known = _known  # each message asks
    if not known:
        settings = runtime.settings()
        known.append(settings.tenant is not None or settings.tenant_locator is not None)
    return known[0]


def locate(tenant_id: str, *, fresh: bool = False) -> object:
    """The tenant of this id; a plain function is asked at most once a second for it, unless it must be ``fresh``.

    ``TenantGone``, ``TenantUnavailable``, or ``ConfigurationError`` if nothing says what a tenant is.
    """
    lookups, settings = _lookups, runtime.settings()
    locator = _locator(settings)
    if locator is None:
        with _answering(tenant_id):
            return identity.locate(_gid(tenant_id, settings))
    look_up = getattr(locator, "locate", None) or getattr(locator, "alocate", None)
    if look_up is not None:
        return _settled(look_up, tenant_id)
    found = None if fresh else lookups.get(tenant_id)
    if found is None:
        found = _settled(locator, tenant_id)
        _keep(lookups, tenant_id, found)
    return found


async def alocate(tenant_id: str) -> object:
    """The tenant of this id, asked for now, without blocking the event loop. Errors as ``locate``."""
    lookups, settings = _lookups, runtime.settings()
    locator = _locator(settings)
    if locator is None:
        with _answering(tenant_id):
            return await identity.alocate(_gid(tenant_id, settings))
    look_up = getattr(locator, "alocate", None) or getattr(locator, "locate", None)
    if look_up is not None:
        return await _awaited(look_up, tenant_id)
    found = await _awaited(locator, tenant_id)
    _keep(lookups, tenant_id, found)
    return found


def _keep(lookups: Lately, tenant_id: str, found: object) -> None:
    # A record belongs to the session, and the thread, that loaded it.
    if identity.model_of(type(found)) is None:
        lookups.keep(tenant_id, found)


def _require_kind(tenant: object, settings: Settings, advice: str) -> None:
    kind = settings.tenant
    if isinstance(kind, type) and not isinstance(tenant, kind):
        raise TypeError(
            f"the tenant is of class {kind.__qualname__} here, by configure(tenant=...), not {tenant!r:.80}{advice}"
        )


def _recorded(tenant: object) -> GlobalId | None:
    """The name of a stored record. One that is not stored yet may still have been given its id."""
    try:
        found = identity.identify(tenant)
    except SerializationError:
        return None
    return found if isinstance(found, GlobalId) else None


def _attribute(tenant: object) -> object:
    try:
        found = tenant.id  # type: ignore[attr-defined]  # that it has one is what is being found out
    except AttributeError:
        raise TypeError(
            f"{tenant!r:.80} has no id that says which tenant it is: configure(tenant_locator=...) with an object that "
            "has identify(tenant), or set tenant_id= instead"
        ) from None
    if found is None:
        raise ValueError(f"{tenant!r:.80} has no id yet, so it is no tenant yet: flush or commit it first")
    return found


def _single(gid: GlobalId, tenant: object) -> str:
    if len(gid.key) != 1:
        raise ConfigurationError(
            f"{tenant!r:.80} has a key of {len(gid.key)} parts, {gid}: configure(tenant_locator=...) with an object "
            "that has identify(tenant), and makes one id of them"
        )
    return gid.key[0]


def _locator(settings: Settings) -> Any:
    """The configured locator; None if a tenant is a record of the configured class."""
    locator = settings.tenant_locator
    if locator is None and settings.tenant is None:
        raise ConfigurationError(
            "the tenant's id is known, but not what a tenant is: call tenantjobs.configure(tenant=Account), or "
            "configure(tenant_locator=...) with a function from id to tenant; Current.tenant_id needs neither"
        )
    if locator is not None and not (callable(locator) or hasattr(locator, "locate") or hasattr(locator, "alocate")):
        raise ConfigurationError(
            f"tenant_locator={locator!r:.80} can look up nothing: it is a function from id to tenant, or an object "
            "with locate(tenant_id) or alocate(tenant_id)"
        )
    return locator


def _gid(tenant_id: str, settings: Settings) -> GlobalId:
    kind = settings.tenant
    model = identity.model_of(kind) if isinstance(kind, type) else None
    if model is None:
        raise ConfigurationError(
            f"configure(tenant={getattr(kind, '__qualname__', kind)}): no locator knows this class. Call "
            "tenantjobs_sqlalchemy.install(...) for it, or configure(tenant_locator=...), a function from id to tenant"
        )
    return GlobalId(settings.name, model, (tenant_id,))


def _settled(look_up: Callable[[str], Any], tenant_id: str) -> object:
    with _answering(tenant_id):
        _refuse_under_loop(look_up)
        found = look_up(tenant_id)
        if isinstance(found, Awaitable):
            _refuse_under_loop(found)
            found = import_module("tenantjobs.loops").run(_result(found))
    return _existing(found, tenant_id)


async def _awaited(look_up: Callable[[str], Any], tenant_id: str) -> object:
    with _answering(tenant_id):
        if iscoroutinefunction(look_up):
            found = await look_up(tenant_id)
        else:
            found = await import_module("asyncio").to_thread(look_up, tenant_id)
            if isinstance(found, Awaitable):
                found = await found
    return _existing(found, tenant_id)


async def _result(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _existing(found: object, tenant_id: str) -> object:
    if found is None:
        raise TenantGone(_gone(tenant_id))
    return found


@contextmanager
def _answering(tenant_id: str) -> Iterator[None]:
    """What the store has to say, in the words of tenancy."""
    try:
        yield
    except RecordGone as error:
        raise TenantGone(_gone(tenant_id)) from error
    except Exception as error:
        if isinstance(error, TenantjobsError) and not isinstance(error, RecordUnavailable):
            raise
        raise TenantUnavailable(
            f"tenant {tenant_id} could not be looked up: {type(error).__name__}: {error}; a job can wait for it, "
            "with @retry_on(TenantUnavailable)"
        ) from error


def _gone(tenant_id: str) -> str:
    return f"tenant {tenant_id} does not exist any more; a job says what then, with @discard_on(TenantGone)"


def _refuse_under_loop(look_up: object) -> None:
    """A look-up that must be awaited would stop the loop that it waits for."""
    awaits = iscoroutinefunction(look_up) or isinstance(look_up, Awaitable)
    asyncio = sys.modules.get("asyncio")
    if not awaits or asyncio is None or asyncio._get_running_loop() is None:
        return
    close = getattr(look_up, "close", None)
    if close is not None:
        close()
    raise ConfigurationError(
        "Current.tenant cannot be looked up here: tenant_locator is async, and reading an attribute cannot await. Jobs "
        "have it awaited before they start; elsewhere `await tenantjobs.current.alocate_tenant()` first, or set the "
        "object itself, as in Current.set(tenant=...)"
    )


def _forget(_changed: frozenset[str] = frozenset()) -> None:
    """Keep the next answers elsewhere: who has begun with the settings of before may still keep what they say."""
    global _known, _lookups
    _known, _lookups = [], Lately()


_known: list[bool] = []
_lookups = Lately()  # what the configured function has answered
runtime.on_change(_forget)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # the lock may be held by a thread that the child does not have
