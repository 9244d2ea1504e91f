"""Current: who this code works for, here and in the jobs that it enqueues."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Protocol, TypeVar, dataclass_transform
from uuid import UUID

from tenantjobs import declarations, tenants
from tenantjobs.attributes import Received, attribute
from tenantjobs.errors import TenantMissing
from tenantjobs.identity import canonical_id
from tenantjobs.scopes import NOTHING, UNKNOWN, Frame, Reach, Scope, in_force
from tenantjobs.snapshot import ScopeName, Snapshot, require_reason
from tenantjobs.spelling import nearest

__all__ = ["Current", "Snapshot", "aload_attributes", "alocate_tenant", "attribute", "cleared", "locate_tenant"]

logger = logging.getLogger("tenantjobs.current")

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class HasTenant(Protocol[T_co]):
    @property
    def tenant(self) -> T_co | None: ...


class TenantId:
    """``Current.tenant_id``: canonical text, whatever form it was set in."""

    def __get__(self, instance: object, owner: type | None = None) -> str | None:
        return in_force().reach.tenant_id

    def __set__(self, instance: object, value: str | int | UUID) -> None:
        raise AttributeError(_UNASSIGNABLE.format("tenant_id"))


class Tenant:
    """``Current.tenant``: the object that was set, or else is looked up on first use. Errors of ``tenants.locate``."""

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        reach = in_force().reach
        if reach.tenant_id is None:
            return None
        elif reach.tenant is UNKNOWN:
            reach.tenant = tenants.locate(reach.tenant_id)
        return reach.tenant


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(attribute,))
class CurrentType(type):
    """The type of Current classes: annotated names become attributes, and nothing is assigned."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> CurrentType:
        if not bases:  # Current itself
            return super().__new__(mcs, name, bases, namespace)
        found = declarations.declare(namespace)
        cls = super().__new__(mcs, name, bases, namespace)
        declarations.register(cls, found)
        return cls

    @property
    def scope(cls) -> ScopeName:
        """``"tenant"``, ``"system"`` or ``"unset"``."""
        return in_force().reach.scope

    def __setattr__(cls, name: str, value: object) -> None:
        if name.startswith("__"):  # what Python itself keeps on a class
            super().__setattr__(name, value)
        else:
            raise AttributeError(_UNASSIGNABLE.format(name))

    def __delattr__(cls, name: str) -> NoReturn:
        raise AttributeError(_UNASSIGNABLE.format(name))


class Current(metaclass=CurrentType):
    """What this code works for: a tenant, and whatever subclasses declare. All of them share one store.

    class Current(tenantjobs.Current):
        tenant: Account | None = None
        user: User | None = tenantjobs.attribute(default=None, load=True)

    with Current.set(tenant=acme, user=ann):
        Current.tenant_id, Current.user
    """

    tenant: Any = Tenant()
    tenant_id: TenantId = TenantId()

    if not TYPE_CHECKING:

        def __new__(cls, *_args, **_attributes):
            raise TypeError(f"{cls.__qualname__} has no instances: read its attributes from the class")

    @classmethod
    def set(cls: Callable[P, object], /, *args: P.args, **values: P.kwargs) -> AbstractContextManager[None]:
        """A scope with these attributes on top of what is there.

        ``ValueError`` for a tenant that is none, ``CrossTenantSwitch`` where another tenant is set already,
        ``TypeError`` for a name that is not declared.
        """
        _refuse_positional("set", args)
        return Scope(_reach(values), _declared("set", values), guarded=True)

    @classmethod
    def switch(
        cls: Callable[P, object], reason: str, /, *args: P.args, **values: P.kwargs
    ) -> AbstractContextManager[None]:
        """As ``set``, from one tenant's scope into another's, for a reason that is logged."""
        require_reason(reason, "Current.switch(reason, tenant=...)")
        _refuse_positional("switch", args)
        reach = _reach(values)
        if reach is None:
            raise TypeError("Current.switch(reason, tenant=...) needs the tenant, or tenant_id, to switch to")
        logger.debug("switch to tenant %s: %s", reach.tenant_id, reason)
        return Scope(reach, _declared("switch", values))

    @classmethod
    def system(cls, reason: str) -> AbstractContextManager[None]:
        """A scope of all tenants, for a reason that is logged and travels with the jobs enqueued in it."""
        require_reason(reason, "Current.system(reason)")
        logger.debug("system scope: %s", reason)
        return Scope(Reach(reason=reason))

    @classmethod
    def require_tenant(cls: type[HasTenant[T]]) -> T:
        """The tenant; ``TenantMissing`` if there is none."""
        tenant: T | None = Current.tenant
        if tenant is None:
            raise TenantMissing(_missing())
        return tenant

    @classmethod
    def capture(cls) -> Snapshot:
        """What travels of the scope that is in force. ``SerializationError`` for an attribute that cannot."""
        frame = in_force()
        return captured(frame) if frame.snapshot is None else frame.snapshot

    @classmethod
    def restored(cls, snapshot: Snapshot) -> AbstractContextManager[None]:
        """The scope that was captured, in place of all that is there. No I/O: objects are located on first use."""
        values = received(snapshot) if snapshot.attributes else NOTHING
        return Scope(Reach(snapshot.tenant_id, snapshot.system), values, whole=True, snapshot=snapshot)


def captured(frame: Frame) -> Snapshot:
    """What travels of what ``frame`` says, which keeps it, unless a value may have changed by the next time."""
    reach = frame.reach
    if not frame.values:
        frame.snapshot = _of_reach(reach.tenant_id, reach.reason)
        return frame.snapshot
    trees: dict[str, Any] = {}
    lasting = True
    for name in sorted(frame.values):
        value, known = frame.values[name], declarations.known.get(name)
        if isinstance(value, Received):  # also of an attribute that only other processes know
            trees[name] = value.tree
        elif known is not None and known.carried and value is not known.default:
            trees[name] = known.packed(value)
            lasting = lasting and (known.load or not isinstance(trees[name], (list, dict)))
    snapshot = Snapshot(reach.tenant_id, reach.reason, trees) if trees else _of_reach(reach.tenant_id, reach.reason)
    if lasting:
        frame.snapshot = snapshot
    return snapshot


@lru_cache(maxsize=1024)
def _of_reach(tenant_id: str | None, reason: str | None) -> Snapshot:
    """The same tenants come again and again, and a snapshot keeps its text."""
    return Snapshot(tenant_id, reason)


def cleared() -> AbstractContextManager[None]:
    """A scope in which nothing is set, whatever is around it."""
    return Scope(whole=True)


def received(snapshot: Snapshot) -> Mapping[str, object]:
    """The values of its attributes, each made of what has travelled when it is asked for."""
    return {name: Received(tree) for name, tree in snapshot.attributes.items()}


def locate_tenant() -> object:
    """Look the tenant up now, past any cache; it is ``Current.tenant`` from here on. The door does so for each job.

    None in system scope, and where nothing says what a tenant is: there is nothing to look up then.
    ``TenantMissing``, ``TenantGone`` or ``TenantUnavailable``.
    """
    reach = in_force().reach
    if reach.tenant_id is None:
        _require_scope(reach)
    else:
        find_tenant(reach, reach.tenant_id)
    return None if reach.tenant is UNKNOWN else reach.tenant


def find_tenant(reach: Reach, tenant_id: str) -> None:
    """Look the tenant of ``reach`` up now, unless its object was given, or nothing says what a tenant is."""
    if not reach.given and tenants.are_known():
        reach.tenant = tenants.locate(tenant_id, fresh=True)


async def alocate_tenant() -> object:
    """As ``locate_tenant``, with await."""
    reach = in_force().reach
    if reach.tenant_id is None:
        _require_scope(reach)
    elif not reach.given and tenants.are_known():
        reach.tenant = await tenants.alocate(reach.tenant_id)
    return None if reach.tenant is UNKNOWN else reach.tenant


async def aload_attributes() -> None:
    """Await the records of attributes that have travelled and are marked ``load=True``.

    One that is gone or unavailable is an error where it is used, as it is in a synchronous job.
    """
    for name, value in in_force().values.items():
        known = declarations.known.get(name)
        if isinstance(value, Received) and known is not None and known.load:
            await known.aload(value)


def _reach(values: dict[str, Any]) -> Reach | None:
    """Takes the tenant out of what was given to ``set``."""
    given_id = canonical_id(values.pop("tenant_id")) if "tenant_id" in values else None
    if "tenant" not in values:
        return None if given_id is None else Reach(given_id)
    tenant = values.pop("tenant")
    tenant_id = tenants.id_of(tenant)
    if given_id not in (None, tenant_id):
        raise ValueError(f"tenant_id={given_id!r} is not the id of tenant={tenant!r:.80}, which is {tenant_id!r}")
    return Reach(tenant_id, tenant=tenant, given=True)


def _declared(verb: str, values: dict[str, Any]) -> Mapping[str, object]:
    """What was given to ``set``, if all of it is declared."""
    for name in values:
        if name not in declarations.known:
            near = nearest(name, ["tenant", "tenant_id", *declarations.known], cutoff=0.5)
            hint = f"did you mean {near}?" if near else "no Current class declares it"
            raise TypeError(f"Current.{verb}() has no attribute {name!r}: {hint}")
    return values or NOTHING


def _refuse_positional(verb: str, args: tuple[object, ...]) -> None:
    if args:
        raise TypeError(f"Current.{verb}() takes attributes by name, as in Current.set(tenant=...), not {args!r:.80}")


def _require_scope(reach: Reach) -> None:
    if reach.scope == "unset":
        raise TenantMissing(_missing())


def _missing() -> str:
    return (
        f"there is no tenant here, the scope is {Current.scope}: set one around this code, as in "
        "`with Current.set(tenant=acme):`; in a job it is the one of the enqueuing code"
    )


_UNASSIGNABLE = "Current.{0} cannot be assigned: it belongs to a scope, so write `with Current.set({0}=...):`"
