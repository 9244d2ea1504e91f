"""Permits in the memory of this process, for the adapter ``test``; they end by the clock that tests move."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from tenantjobs import clock
from tenantjobs.permits import Request, reserved_token


class MemoryPermits:
    """The contract of ``permits.Permits``, without a database to join."""

    one_writer = False

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._held: dict[str, dict[str, datetime]] = {}  # by key: tokens, and when they end

    def joins(self, engine: object) -> bool:  # noqa: ARG002
        return False

    def take(self, requests: Sequence[Request], connection: object | None = None) -> Collection[str]:  # noqa: ARG002
        with self._turn:
            return frozenset(request.token for request in requests if not self._taken(request))

    def renew(self, request: Request) -> bool:
        with self._turn:
            held = self._held.get(request.key, {})
            if request.token not in held:
                return False
            held[request.token] = _until(request)
            return True

    def holds(self, request: Request) -> bool:
        with self._turn:
            return request.token in self._held.get(request.key, {})

    def give_back(self, requests: Sequence[Request], connection: object | None = None) -> None:  # noqa: ARG002
        with self._turn:
            for request in requests:
                self._held.get(request.key, {}).pop(request.token, None)

    def forsake(self, owners: Sequence[str], connection: object | None = None) -> None:  # noqa: ARG002
        with self._turn:
            for held in self._held.values():
                for owner in owners:
                    held.pop(reserved_token(owner), None)

    def _taken(self, request: Request) -> bool:
        now = clock.now()
        held = self._held[request.key] = {
            token: until for token, until in self._held.get(request.key, {}).items() if until > now
        }
        reserved = held.pop(reserved_token(request.owner), None)
        if reserved is None and request.token not in held and len(held) >= request.of:
            return False
        held[request.token] = _until(request)
        return True


def _until(request: Request) -> datetime:
    return clock.now() + timedelta(seconds=request.seconds)
