"""Chains: jobs one after another, each enqueued when the one before has succeeded."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from tenantjobs import adapter, enqueuing, gathering
from tenantjobs.call import Call
from tenantjobs.errors import ConfigurationError
from tenantjobs.handle import Handle
from tenantjobs.message import Message


class Chain:
    """Jobs in an order. The first one takes all that follow along: no queue has to know that there are more.

    A job that is retried holds the chain up, one that has failed or was discarded ends it, and so does one that
    another of its key keeps out. They all have the scope of the call. ``wait`` of a later job counts from its turn.
    """

    def __init__(self, *calls: Call) -> None:
        for call in calls:
            given: object = call
            if not isinstance(given, Call):
                hint = (
                    "write .call(...) with its arguments" if hasattr(given, "__definition__") else "make it a job first"
                )
                raise ConfigurationError(f"chain(...) takes calls of jobs, not {given!r:.120}: {hint}")
        if not calls:
            raise ConfigurationError(
                "chain() has no jobs: give it calls of them, as in chain(first.call(1), then.call(2))"
            )
        self._calls = calls

    def perform_later(self) -> Handle:
        """Enqueue the first job; inside a transaction or a batch with that. Its handle stands for the whole chain."""
        target = adapter.configured()
        return enqueuing.leave(self._first(target), target)

    def aperform_later(self) -> Coroutine[Any, Any, Handle]:
        """The same, without blocking the event loop."""
        target = adapter.configured()
        return enqueuing.aleave(self._first(target), target)

    def _first(self, target: adapter.Adapter) -> Message:
        batch = gathering.current()
        first, *others = self._calls
        followers = [Message(call, target, batch=batch, ahead=True) for call in others]
        return Message(first, target, batch=batch, followers=followers)


def chain(*calls: Call) -> Chain:
    """Jobs one after another: ``chain(fetch.call(1), tell.call(1)).perform_later()``."""
    return Chain(*calls)
