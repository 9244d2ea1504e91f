"""Jobs that coroutines of one event loop enqueue at the same time leave together, by one statement and one commit.

Whoever comes first does not wait for others. Those who come while its statement is under way leave with the next one:
the more there are, the more share it.
"""

from __future__ import annotations

from contextvars import Context
from functools import cache
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from tenantjobs.adapter import Adapter
from tenantjobs.envelope import Envelope

MOST = 1000  # jobs of one statement


async def enqueue(envelope: Envelope, target: Adapter) -> None:
    """Enqueue one job in ``target``, which stores many of them all or none. It is there when this returns."""
    loop = _asyncio().get_running_loop()
    departures = _departures.get(loop)
    if departures is None:
        departures = _departures[loop] = WeakKeyDictionary()
    departure = departures.get(target)
    if departure is None:
        departure = departures[target] = Departure()
    await departure.take(envelope, target, loop)


class Departure:
    """Those of one event loop who wait to leave for one queue."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Envelope, Any]] = []
        self._leaving: Any = None

    async def take(self, envelope: Envelope, target: Adapter, loop: Any) -> None:
        future = loop.create_future()
        self._waiting.append((envelope, future))
        if self._leaving is None:
            # Of nobody's context: it is that of all who leave.
            self._leaving = loop.create_task(self._leave(target), context=Context())
        await future

    async def _leave(self, target: Adapter) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await _write(batch, target)
        finally:
            self._leaving = None


async def _write(batch: list[tuple[Envelope, Any]], target: Adapter) -> None:
    envelopes = [envelope for envelope, _ in batch]
    try:
        if len(batch) == 1:
            await _asyncio().to_thread(target.enqueue, envelopes[0])
        else:
            await _asyncio().to_thread(target.enqueue_all, envelopes)
    except Exception as error:
        if len(batch) > 1:  # one of them may be to blame, and the others are not to suffer for it
            for each in batch:
                await _write([each], target)
        else:
            _tell(batch[0][1], error)
    except BaseException:
        for _, future in batch:
            future.cancel()
        raise
    else:
        for _, future in batch:
            _tell(future, None)


@cache
def _asyncio() -> Any:
    # Whoever runs a loop has loaded it; importing it above would cost every importer of tenantjobs.
    return import_module("asyncio")


def _tell(future: Any, error: Exception | None) -> None:
    if future.done():  # its caller has given up waiting
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


_departures: WeakKeyDictionary[Any, WeakKeyDictionary[Adapter, Departure]] = WeakKeyDictionary()
