"""Carriage of the scope beside the native jobs of other queues: what travels, where it counts, and who may run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

import msgspec

from tenantjobs import sentinel
from tenantjobs.current import Current, locate_tenant
from tenantjobs.errors import TenantjobsError, TenantMissing
from tenantjobs.scopes import Scope, in_force
from tenantjobs.snapshot import EMPTY, Snapshot

KEY = "tenantjobs"
VERSION = 1

Header = dict[str, Any]
Tenancy = Literal["required", "optional", "observe"]

logger = logging.getLogger("tenantjobs.carriage")


class Unreadable(ValueError):
    """The header is there, and says nothing that this process may rely on."""


def write(snapshot: Snapshot) -> Header | None:
    """The header of a scope; None for an empty one, so that its message stays as it was."""
    if not snapshot:
        return None
    elif snapshot.attributes:
        return {"v": VERSION, **msgspec.json.decode(snapshot.encode())}
    elif snapshot.system is None:
        return {"v": VERSION, "tenant_id": snapshot.tenant_id}
    return {"v": VERSION, "system": snapshot.system}


def refusal(error: Exception) -> Header:
    """What is sent for a scope that cannot be written: a header that every worker refuses, and says why."""
    return {"v": VERSION, "error": f"{type(error).__name__}: {error}"}


def read(header: object) -> Snapshot:
    """The scope that the header carries, an empty one if there is no header; ``Unreadable``."""
    if header is None:
        return EMPTY
    if not isinstance(header, Mapping):
        raise Unreadable(f"it is {header!r:.80}, not an object")
    fields = dict(header)
    version = fields.pop("v", None)
    if version != VERSION:
        raise Unreadable(f"it is of version {version!r}, and this worker knows {VERSION}: upgrade the worker")
    if "error" in fields:
        raise Unreadable(f"it could not be written where the job was sent, {fields['error']}")
    try:
        return msgspec.convert(fields, Snapshot)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Unreadable(str(error)) from error


class Delivery:
    """A block in which the scope of a header counts, in place of all that is around it. ``job`` names it in messages.

    What is entered inside and never left is left at its end, with a warning. ``called``: the job is performed where it
    is called, so that without a header it is part of its caller, and works for the same tenant.
    """

    __slots__ = ("_before", "_job", "_scope", "_snapshot", "_watch", "header", "problem")

    def __init__(self, header: object, job: str, *, called: bool = False) -> None:
        self.header = header
        self.problem: str | None = None
        self._job = job
        self._snapshot: Snapshot | None
        try:
            self._snapshot = None if called and header is None else read(header)
        except Unreadable as error:
            self.problem = str(error)
            self._snapshot = EMPTY

    def __enter__(self) -> Delivery:
        tenant_id = Current.tenant_id if self._snapshot is None else self._snapshot.tenant_id
        self._watch = sentinel.performing(sentinel.Native(self._job, tenant_id))
        self._watch.__enter__()
        self._before: tuple[Scope, ...] = in_force().scopes
        self._scope = None if self._snapshot is None else Current.restored(self._snapshot)
        if self._scope is not None:
            self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        inside = [scope for scope in in_force().scopes if scope.state == "open" and scope not in self._before]
        for scope in reversed(inside):
            scope.__exit__(None, None, None)
        try:
            if any(scope is not self._scope for scope in inside):
                self._tell()
        finally:
            self._watch.__exit__(kind, error, traceback)

    def _tell(self) -> None:
        logger.warning(
            "%s left a scope of Current open, which has been left for it: write `with Current.set(...):`", self._job
        )
        sentinel.found("context", "left a scope open", place="")

    def admit(self, tenancy: Tenancy, how: str) -> None:
        """``TenantMissing``, ``TenantGone`` or ``TenantUnavailable``; only a warning where the policy is to observe.

        ``how`` tells the sender of a job without a tenant what to do. To be called inside the block.
        """
        try:
            self._require(tenancy, how)
        except TenantjobsError as error:
            if tenancy != "observe":
                raise
            logger.warning("%s It runs, because tenancy is %r.", error, tenancy)

    def _require(self, tenancy: Tenancy, how: str) -> None:
        scope = Current.scope
        if self.problem is not None:
            raise TenantMissing(f"{self._job} came with a scope that cannot be read: {self.problem}.")
        elif scope == "tenant":
            locate_tenant()
        elif scope == "unset" and tenancy != "optional":
            raise TenantMissing(f"{self._job} came without a tenant: {how}.")
