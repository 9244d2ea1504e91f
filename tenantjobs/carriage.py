"""Carriage of the scope beside the native jobs of other queues: what travels, where it counts, and who may run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal

import msgspec

from tenantjobs import seal, sentinel
from tenantjobs.current import Current, find_tenant, received
from tenantjobs.errors import BadSignature, TenantjobsError, TenantMissing
from tenantjobs.scopes import NOTHING, Reach, Scope, in_force, latest
from tenantjobs.signer import configured
from tenantjobs.snapshot import EMPTY, Snapshot

KEY = "tenantjobs"
VERSION = 1

Tenancy = Literal["required", "optional", "observe"]

logger = logging.getLogger("tenantjobs.carriage")


class Unreadable(ValueError):
    """The header is there, and says nothing that this process may rely on."""


def write(snapshot: Snapshot) -> str | None:
    """The header of a scope; None for an empty one, so that its message stays as it was.

    It is text: in AMQP's headers, and in JSON, a table inside the table costs as much as all that is around it.
    """
    kept = vars(snapshot)  # of one request, which sends more than one message
    header: str | None = kept.get("header")
    if header is None and snapshot:
        header = kept["header"] = f'{{"v":{VERSION},{snapshot.encode()[1:].decode()}'
    return header


def refusal(error: Exception) -> str:
    """What is sent for a scope that cannot be written: a header that every worker refuses, and says why."""
    return text({"v": VERSION, "error": f"{type(error).__name__}: {error}"})


def text(header: Mapping[str, Any]) -> str:
    """The header of a sender that has written an object."""
    return _encode(header).decode()


def read(header: object) -> Snapshot:
    """The scope that the header or its text carries, an empty one if there is no header; ``Unreadable``."""
    if header is None:
        return EMPTY
    if isinstance(header, str) and len(header) < 200:
        snapshot = _remembered(header)
        if not snapshot.attributes:  # which hold what their readers may change
            return snapshot
    return _read(header)


@lru_cache(maxsize=1024)
def _remembered(header: str) -> Snapshot:
    """The same tenants come again and again."""
    return _read(header)


def _read(header: object) -> Snapshot:
    if isinstance(header, (str, bytes)):
        try:
            header = _decode(str(header) if isinstance(header, str) else header)  # msgspec takes no subclass
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable(f"it is {header!r:.80}, not an object") from error
    if not isinstance(header, Mapping):
        raise Unreadable(f"it is {header!r:.80}, not an object")
    fields = dict(header)
    version = fields.pop("v", None)
    fields.pop("sig", None)  # of a sender with keys, where this process has none
    if version != VERSION:
        raise Unreadable(f"it is of version {version!r:.80}, and this worker knows {VERSION}: upgrade the worker")
    if "error" in fields:
        raise Unreadable(f"it could not be written where the job was sent, {fields['error']!s:.300}")
    try:
        return msgspec.convert(fields, Snapshot)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise Unreadable(f"{error!s:.300}") from error


class Delivery(Scope):
    """The scope of a header, for the block in which its job runs, in place of all that is around it.

    ``job`` names it in messages. What is entered inside and never left is left at its end, with a warning.
    ``covered``: what its seal is to cover, and ``keyed`` whether there were keys to hold it against; one that is
    ``forged`` has no scope. ``called``: the job is performed where
    it is called, so that it needs no seal, and without a header is part of its caller, and works for the same tenant.
    """

    # Each message of a queue pays for it, and most of that is calls: between two messages a worker does so much else
    # that each function is met cold, at several times of what it costs in a loop. Hence one object that is the scope as
    # well, and steps that are written out.
    __slots__ = ("_before", "_job", "_watch", "forged", "header", "keyed", "problem")

    def __init__(self, header: object, job: str, covered: seal.Covered = tuple, *, called: bool = False) -> None:
        self.header = header
        self.problem: str | None = None
        self.forged: BadSignature | None = None
        self._job = job
        self.keyed = not called and configured() is not None
        if called and header is None:
            Scope.__init__(self)
            return
        if self.keyed:
            header, self.forged = seal.opened(header, covered, job)
            if self.forged is not None:
                header = None
        try:
            snapshot = read(header)
        except Unreadable as error:
            self.problem = str(error)
            snapshot = EMPTY
        values = received(snapshot) if snapshot.attributes else NOTHING
        Scope.__init__(self, Reach(snapshot.tenant_id, snapshot.system), values, True, False, snapshot)

    def __enter__(self) -> None:
        self._watch = self._watched() if sentinel.watchers else None
        base = latest()
        self._before = base.scopes
        self.enter_in(base)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            scopes = latest().scopes
            if scopes and scopes[-1] is self:
                Scope.__exit__(self, kind, error, traceback)
            elif self._left_open(scopes):
                self._tell()
        finally:
            if self._watch is not None:
                self._watch.__exit__(kind, error, traceback)

    def _watched(self) -> AbstractContextManager[None]:
        tenant_id = Current.tenant_id if self.snapshot is None else self.snapshot.tenant_id
        watch = sentinel.performing(sentinel.Native(self._job, tenant_id))
        watch.__enter__()
        return watch

    def _left_open(self, scopes: tuple[Scope, ...]) -> bool:
        """Leave what is open, and say whether there was more than is ours."""
        inside = [scope for scope in scopes if scope.state == "open" and scope not in self._before]
        for scope in reversed(inside):
            Scope.__exit__(scope, None, None, None)
        return any(scope is not self for scope in inside)

    def _tell(self) -> None:
        logger.warning(
            "%s left a scope of Current open, which has been left for it: write `with Current.set(...):`", self._job
        )
        sentinel.found("context", "left a scope open", place="")

    def admit(self, tenancy: Tenancy, how: str) -> None:
        """``TenantMissing``, ``TenantGone`` or ``TenantUnavailable``; only a warning where the policy is to observe.

        ``how`` tells the sender of a job without a tenant what to do. To be called inside the block. ``BadSignature``
        with any policy, for which ``[signing]`` has a mode of its own.
        """
        if self.forged is not None:
            raise self.forged
        reach = in_force().reach
        try:
            if self.problem is not None:
                raise TenantMissing(f"{self._job} came with a scope that cannot be read: {self.problem}.")
            elif reach.tenant_id is not None:
                find_tenant(reach, reach.tenant_id)
            elif reach.reason is None and tenancy != "optional":
                raise TenantMissing(f"{self._job} came without a tenant: {how}.")
        except TenantjobsError as error:
            if tenancy != "observe":
                raise
            # The other errors name the tenant alone.
            told = error if isinstance(error, TenantMissing) else f"{self._job}: {error}."
            logger.warning("%s It runs, because tenancy is %r.", told, tenancy)

    def admit_seal(self) -> None:
        """``BadSignature`` for what is not ours, also where no tenant is needed."""
        if self.forged is not None:
            raise self.forged


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
