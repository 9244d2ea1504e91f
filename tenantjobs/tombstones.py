"""Tombstones: of a tenant that was purged no job runs any more, also where a broker brings one late.

The rows of the database queue go with their tenant, and a gate performs what has a row. A message has all that it needs
with it. So the door asks before it begins, where a database of ours is at hand that knows who was purged.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import cache

from tenantjobs import adapter, runtime
from tenantjobs.colours import Colour
from tenantjobs.completing import Completes
from tenantjobs.controls import HasControls
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, TenantGone
from tenantjobs.lately import Lately
from tenantjobs.running import going_on


class Unanswered(Exception):
    """Nobody knows at the moment whether there is one: the job has to wait."""


def may_stand_for(envelope: Envelope, delivery: object) -> bool:
    """Whether a job that came by ``delivery`` may be there without its tenant, and somebody knows."""
    kind: type = type(delivery)
    if _has_a_row(kind) or not runtime.settings().sections.get("db"):
        return False
    return envelope.tenant_id is not None


async def refuse(tenant_id: str, io: Colour) -> None:
    """``TenantGone`` for a tenant that is being purged, or was. That it was not, is asked once a second."""
    if _alive.get(tenant_id) is None:
        await io.blocking(_ask, tenant_id)


@cache
def _has_a_row(kind: type) -> bool:
    # Asked once for each class: every job of the database queue comes by here.
    return issubclass(kind, Completes)


def _ask(tenant_id: str) -> None:
    alive = _alive
    if tenant_id in _buried(tenant_id):
        raise TenantGone(
            f"tenant {tenant_id} was purged, and no job of it runs any more: this one came late. A job says what then, "
            f"with @discard_on(TenantGone); an id that belongs to a new tenant is opened by `tenantjobs tenants open`"
        )
    alive.keep(tenant_id, True)


def _buried(tenant_id: str) -> Collection[str]:
    try:
        keeper = adapter.keeper(HasControls)
        if not isinstance(keeper, HasControls):
            return ()
        with going_on():  # one that is drained has its jobs performed
            return keeper.controls.closed([tenant_id])
    except ConfigurationError:
        return ()  # there are no tables of ours, from which somebody could have been purged
    except Exception as error:
        raise Unanswered(f"the database does not say whether tenant {tenant_id} was purged: {error}") from error


def _forget(_changed: frozenset[str] = frozenset()) -> None:
    global _alive
    _alive = Lately()


_alive = Lately()
runtime.on_change(_forget)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # the lock may be held by a thread that the child does not have
