"""A job with its arguments, before it is enqueued, and the scope that it was made in."""

from __future__ import annotations

from typing import Any

import msgspec

from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition
from tenantjobs.errors import CrossTenantSwitch
from tenantjobs.options import NO_OPTIONS, Options
from tenantjobs.tenancy import require_scope, system_scope


class Call(msgspec.Struct, frozen=True, gc=False):
    """A job with its arguments, not enqueued yet. ``snapshot`` is the scope it was made in, if there was one."""

    definition: Definition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options = NO_OPTIONS
    snapshot: Snapshot | None = None


def context(call: Call) -> Snapshot:
    """The scope that the call was made in; without one, the scope it is enqueued in."""
    definition, made_in = call.definition, call.snapshot
    if made_in is not None and Current.scope == "tenant" and made_in.tenant_id != Current.tenant_id:
        raise CrossTenantSwitch(
            f"a call of job {definition.name} was made for {made_in.tenant_id or 'the system'} and is to be enqueued "
            f"in the scope of tenant {Current.tenant_id}: enqueue it outside of that, or under Current.system(...)"
        )
    snapshot = Current.capture() if made_in is None else made_in
    if definition.tenancy == "none":
        return system_scope(definition, snapshot)
    if snapshot.scope == "unset":
        require_scope(definition, "enqueued")
    return snapshot
