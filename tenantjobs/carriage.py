"""Carriage of the scope beside the native jobs of other queues: what travels, where it counts, and who may run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal

import msgspec

from tenantjobs import runtime, seal, sentinel
from tenantjobs.current import Current, find_tenant, received
from tenantjobs.current import captured as snapshot_of
from tenantjobs.errors import BadSignature, TenantjobsError, TenantMissing
from tenantjobs.scopes import NOTHING, Frame, Reach, Scope, enter, in_force, latest, leave
from tenantjobs.sentinel import watchers
from tenantjobs.signer import configured
from tenantjobs.snapshot import EMPTY, Snapshot
from tenantjobs.tenants import are_known

KEY = "tenantjobs"
VERSION = 1
SHORT = 200  #: Characters of a header whose scope is remembered.

Tenancy = Literal["required", "optional", "observe"]
Named = Callable[[], str]  # what messages call a job

logger = logging.getLogger("tenantjobs.carriage")


class Unreadable(ValueError):
    """The header is there, and says nothing that this process may rely on."""


def write(snapshot: Snapshot) -> str | None:
    """The header of a scope; None for an empty one, so that its message stays as it was.

    It is text: in AMQP's headers, and in JSON, a table inside the table costs as much as all that is around it.
    """
    return f'{{"v":{VERSION},{snapshot.encode()[1:].decode()}' if snapshot else None


def captured(tenancy: Tenancy, log: logging.Logger) -> str | None:
    """The header of the scope that is in force; where the policy is to observe, the refusal of what cannot travel."""
    frame = in_force()
    header = frame.header  # of one request, which sends more than one message
    if header is None:
        try:
            header = write(snapshot_of(frame) if frame.snapshot is None else frame.snapshot)
        except Exception as error:
            if tenancy != "observe":
                raise
            log.exception("the scope of this call cannot travel, and whoever gets the message will be told so")
            return refusal(error)
        if frame.snapshot is not None:
            frame.header = header
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
    if isinstance(header, str) and len(header) < SHORT:
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

    What is entered inside and never left is left at its end, with a warning, which calls the job as ``named`` says.
    """

    # Each message of a queue pays for it, and between two messages a worker does so much else that each function is met
    # cold, at several times of what it costs in a loop. Hence one object that is the scope as well, names that are made
    # only for a message, and steps that are written out for what is nearly always so, before what calls the functions
    # for the rest.
    __slots__ = ("_before", "_named", "_watch", "forged", "header", "keyed", "problem")

    def __init__(self, header: object, named: Named, snapshot: Snapshot) -> None:
        self.header = header
        self.problem: str | None = None  # why it cannot be read
        self.forged: BadSignature | None = None  # why it is not ours; then it has no scope
        self.keyed = False  # there were keys to hold it against
        self._named = named
        self._before: tuple[Scope, ...] = ()
        self._watch: AbstractContextManager[None] | None = None
        self.reach = Reach(snapshot.tenant_id, snapshot.system)
        self.values = received(snapshot) if snapshot.attributes else NOTHING
        self.whole, self.guarded = True, False
        self.snapshot = snapshot
        self.state = "new"
        self._frame = self._token = None

    @classmethod
    def of(cls, header: object, named: Named, covered: seal.Covered = tuple) -> Delivery:
        """Of a message that came with this header, whose seal is to cover what ``covered`` gives."""
        if configured() is None:
            return cls._of(header, named, header)
        text, forged = seal.opened(header, covered, named())
        delivery = cls._of(header, named, text if forged is None else None)
        delivery.keyed, delivery.forged = True, forged
        return delivery

    @classmethod
    def called(cls, header: object, named: Named) -> Delivery:
        """Of a job that is performed where it is called, so that it needs no seal.

        Without a header it is part of its caller, and works for the same tenant.
        """
        delivery = cls._of(header, named, header)
        if header is None:
            delivery.reach = delivery.snapshot = None
            delivery.whole = False
        return delivery

    @classmethod
    def at_once(cls, header: object, named: Named) -> Delivery | None:
        """What ``of``, ``__enter__`` and ``admit`` make of a tenant's id alone, if there is nobody to ask about it.

        None where there is more to do: nothing has happened then.
        """
        if not (_nobody_to_ask or _ask())[0] or watchers or type(header) is not str or len(header) >= SHORT:
            return None
        try:
            snapshot = _remembered(header)
        except Unreadable:
            return None
        base = latest()
        if snapshot.tenant_id is None or snapshot.attributes or base.scopes:
            return None
        delivery = cls(header, named, snapshot)
        assert delivery.reach is not None
        delivery._frame = frame = Frame((delivery,), delivery.reach, NOTHING, snapshot, base.last_void)
        delivery._token = enter(frame)
        delivery.state = "open"
        return delivery

    @classmethod
    def _of(cls, header: object, named: Named, text: object) -> Delivery:
        try:
            return cls(header, named, read(text))
        except Unreadable as error:
            delivery = cls(header, named, EMPTY)
            delivery.problem = str(error)
            return delivery

    def __enter__(self) -> None:
        if watchers:
            self._watch = self._watched()
        base = latest()
        self._before = base.scopes
        if base.scopes or self.reach is None or self.state != "new":
            self.enter_in(base)
        else:  # between two messages of a worker, when there is nothing around
            self._frame = frame = Frame((self,), self.reach, self.values, self.snapshot, base.last_void)
            self._token = enter(frame)
            self.state = "open"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None and self._watch is None and latest() is self._frame:
            try:
                leave(self._token)
            except ValueError:  # entered in another Context
                pass
            else:
                self.state = "left"
                self._frame = self._token = None
                return
        self._exit(kind, error, traceback)

    def _exit(
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
        watch = sentinel.performing(sentinel.Native(self._named(), tenant_id))
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
            "%s left a scope of Current open, which has been left for it: write `with Current.set(...):`", self._named()
        )
        sentinel.found("context", "left a scope open", place="")

    def admit(self, tenancy: Tenancy, how: str) -> None:
        """``TenantMissing``, ``TenantGone`` or ``TenantUnavailable``; only a warning where the policy is to observe.

        ``how`` tells the sender of a job without a tenant what to do. To be called inside the block. ``BadSignature``
        with any policy, for which ``[signing]`` has a mode of its own.
        """
        if self.forged is not None:
            raise self.forged
        reach = self.reach
        if reach is None or latest() is not self._frame:  # it says nothing, or something was entered since
            reach = in_force().reach
        try:
            if self.problem is not None:
                raise TenantMissing(f"{self._named()} came with a scope that cannot be read: {self.problem}.")
            elif reach.tenant_id is not None:
                if are_known():
                    find_tenant(reach, reach.tenant_id)
            elif reach.reason is None and tenancy != "optional":
                raise TenantMissing(f"{self._named()} came without a tenant: {how}.")
        except TenantjobsError as error:
            if tenancy != "observe":
                raise
            # The other errors name the tenant alone.
            told = error if isinstance(error, TenantMissing) else f"{self._named()}: {error}."
            logger.warning("%s It runs, because tenancy is %r.", told, tenancy)

    def admit_seal(self) -> None:
        """``BadSignature`` for what is not ours, also where no tenant is needed."""
        if self.forged is not None:
            raise self.forged


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def _ask() -> list[bool]:
    kept = _nobody_to_ask
    kept.append(configured() is None and not are_known())
    return kept


def _forget(_changed: frozenset[str]) -> None:
    """Keep the next answer elsewhere: who has begun with the settings of before may still keep what they say."""
    global _nobody_to_ask
    _nobody_to_ask = []


_nobody_to_ask: list[bool] = []  # neither keys nor a tenant's record have a say about a header
runtime.on_change(_forget)
