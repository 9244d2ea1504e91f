"""Scopes: one ContextVar with one immutable frame, and what it takes to leave a scope without ever reviving another.

A frame is what the open scopes say together. Entering makes a new frame on top, leaving resets the variable by
token. Two exits are not like that, and both fail closed:

- out of order (an outer scope is left first): the frame is made again from the scopes that are still open, so that
  what only the outer one said is gone, at once and for good;
- in another Context (an async generator that another task closes): the Context in which it was entered cannot be
  reached any more, so the scope is void, and every frame reads as if it had never been in it.

A task that copied a Context keeps what it copied, also after the scope has been left where it was entered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import Literal

import msgspec

from tenantjobs.errors import CrossTenantSwitch
from tenantjobs.snapshot import EMPTY, ScopeName, Snapshot

UNKNOWN = object()
NOTHING: Mapping[str, object] = MappingProxyType({})


class Reach(msgspec.Struct, eq=False):
    """Whom a scope reaches: nobody, one tenant, or all of them for a reason.

    The tenant's object, once it is known: it was ``given``, or has been looked up.
    """

    tenant_id: str | None = None
    reason: str | None = None
    tenant: object = UNKNOWN
    given: bool = False

    @property
    def scope(self) -> ScopeName:
        if self.tenant_id is not None:
            return "tenant"
        else:
            return "unset" if self.reason is None else "system"


class Frame(msgspec.Struct, eq=False):
    """What is in force, and the open scopes that made it so. Never changed, save for what it remembers."""

    scopes: tuple[Scope, ...]
    reach: Reach
    values: Mapping[str, object]
    snapshot: Snapshot | None
    last_void: object  # until another scope of this process becomes void, none of these is
    stand_in: Frame | None = None
    header: str | None = None  # of the snapshot, where it has been written


class Scope:
    """A change of what is in force, for one ``with``.

    It adds to what it is entered in, or replaces it as a ``whole``. ``guarded``: it does not lead from one tenant to
    another.
    """

    __slots__ = ("_frame", "_token", "guarded", "reach", "snapshot", "state", "values", "whole")

    def __init__(
        self,
        reach: Reach | None = None,
        values: Mapping[str, object] = NOTHING,
        whole: bool = False,
        guarded: bool = False,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.reach = reach
        self.values = values
        self.whole = whole
        self.guarded = guarded
        self.snapshot = snapshot
        self.state: Literal["new", "open", "left", "void"] = "new"
        self._frame: Frame | None = None
        self._token: Token[Frame] | None = None

    def __enter__(self) -> None:
        self.enter_in(in_force())

    def enter_in(self, base: Frame) -> None:
        """Enter it where ``base`` is in force."""
        if self.state != "new":
            raise RuntimeError("a scope can be entered once: make another one, as in `with Current.set(...):`")
        if self.reach is not None and not self.whole:
            self._fit_into(base.reach)
        self._frame = _on(base, self)
        self.state = "open"
        self._token = _variable.set(self._frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        frame, token = self._frame, self._token
        self._frame = self._token = None  # else the frame and its scope would keep each other alive
        if frame is None or token is None:
            return
        found = _variable.get()
        try:
            _variable.reset(token)
        except ValueError:  # entered in another Context
            self.state = "void"
            _remark()
        else:
            self.state = "left"
            if found is not frame:
                _variable.set(_made_of(scope for scope in found.scopes if scope is not self))

    def _fit_into(self, around: Reach) -> None:
        inside = self.reach
        assert inside is not None
        if around.tenant_id is None or inside.tenant_id is None:
            return
        elif inside.tenant_id != around.tenant_id:
            if self.guarded:
                raise CrossTenantSwitch(
                    f"tenant {inside.tenant_id} was set inside the scope of tenant {around.tenant_id}: leave that one "
                    f"first, or say why, as in `with Current.switch('support copy', tenant_id={inside.tenant_id!r}):`"
                )
        elif inside.tenant is UNKNOWN:
            self.reach = around  # what is known of the tenant stays known


def in_force() -> Frame:
    """The frame that counts here."""
    frame = _get()
    return frame if frame.last_void is _last_void else _without_void(frame)


def _on(base: Frame, scope: Scope) -> Frame:
    """The frame of a scope that is entered in ``base``."""
    scopes = base.scopes
    scopes = (*(scopes if len(scopes) < 4 else _bounded(scopes)), scope)
    if scope.whole:
        return Frame(scopes, scope.reach or _UNSET, scope.values, scope.snapshot, base.last_void)
    else:
        values = {**base.values, **scope.values} if scope.values else base.values
        return Frame(scopes, scope.reach or base.reach, values, None, base.last_void)


def _made_of(scopes: Iterable[Scope]) -> Frame:
    frame = Frame((), _UNSET, NOTHING, EMPTY, _last_void)
    for scope in scopes:
        if scope.state != "void":
            frame = _on(frame, scope)
    return frame


def _without_void(frame: Frame) -> Frame:
    """The frame itself if none of its scopes is void, else what the others say."""
    last_void = _last_void
    others = tuple(scope for scope in frame.scopes if scope.state != "void")
    if len(others) == len(frame.scopes):
        frame.last_void = last_void
        return frame
    stand_in = frame.stand_in
    if stand_in is None or stand_in.last_void is not last_void:
        stand_in = frame.stand_in = _made_of(others)
    return stand_in


def _bounded(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    """The same, with neighbours that have been left put into one.

    They are there in tasks that outlive them. Where each such task starts the next one, there would be more and more.
    """
    kept: list[Scope] = []
    for scope in scopes:
        if kept and kept[-1].state == scope.state == "left":
            kept[-1] = _one(kept[-1], scope)
        else:
            kept.append(scope)
    return tuple(kept)


def _one(below: Scope, above: Scope) -> Scope:
    """What two scopes say together."""
    if above.whole:
        return above
    both = Scope(above.reach or below.reach, {**below.values, **above.values}, whole=below.whole)
    both.state = "left"
    return both


def _remark() -> None:
    """Every frame looks through its scopes once more."""
    global _last_void
    _last_void = object()


_last_void = object()
_UNSET = Reach()
_ROOT = Frame((), _UNSET, NOTHING, EMPTY, _last_void)
_variable: ContextVar[Frame] = ContextVar("tenantjobs_current", default=_ROOT)
_get = _variable.get

#: The frame as it was entered, maybe in scopes that are void by now: enough for who only looks at its ``scopes``.
latest = _variable.get
enter = _variable.set
leave = _variable.reset
