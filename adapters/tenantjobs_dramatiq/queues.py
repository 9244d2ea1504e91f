"""Our jobs in the queues of a broker: under which name, how soon, and how they get there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial
from math import ceil
from typing import Any

from dramatiq import Broker, Message

from tenantjobs import priorities, strides
from tenantjobs.envelope import Envelope
from tenantjobs.errors import UnsupportedCapability
from tenantjobs_dramatiq.performing import NAME

# What Dramatiq takes for the name of a queue, less what it calls its own for delayed and for dead messages, and short
# enough for RabbitMQ with that at its end.
QUEUE_NAME = re.compile(r"(?=.{1,250}$)(?!.*\.[DX]Q$)[a-zA-Z_][a-zA-Z0-9._-]*")


class Queues:
    """The queues of one broker."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self.broker: Any = broker
        self.prefix = prefix

    @property
    def orders(self) -> bool:
        """Whether this broker can put one message before another: RabbitMQ, if its queues are declared so."""
        return (getattr(self.broker, "max_priority", None) or 0) >= priorities.LAST

    def named(self, name: str) -> str:
        """What the queue is called there; ``UnsupportedCapability`` if it cannot be."""
        named = self.prefix + name
        if not QUEUE_NAME.fullmatch(named):
            raise UnsupportedCapability(
                f"Dramatiq has no queue called {named!r}: letters, digits, dots, dashes and underscores make a name, "
                "250 at most, and .DQ and .XQ do not end one"
            )
        return named

    def enqueue(self, envelopes: Sequence[Envelope]) -> None:
        """All of them on one channel of RabbitMQ, in one pipeline of Redis, one after the other elsewhere."""
        planned = [self._planned(envelope) for envelope in envelopes]
        if len(planned) > 1 and is_a("redis", self.broker):
            self._pipe(planned)
        else:
            for message, delay in planned:
                self.broker.enqueue(message, delay=delay)

    def ping(self) -> None:
        """Raises what the broker's client raises if nobody answers."""
        if is_a("redis", self.broker):
            self.broker.client.ping()
        elif is_a("rabbitmq", self.broker):
            self.broker.connection.process_data_events()
            del self.broker.connection

    def _planned(self, envelope: Envelope) -> tuple[Message[Any], int | None]:
        stride = strides.stride(envelope)
        options = {"broker_priority": priorities.LAST - priorities.place(envelope.priority)} if self.orders else {}
        message: Message[Any] = Message(
            queue_name=self.named(envelope.queue),
            actor_name=NAME,
            args=(envelope.encode().decode(),),
            kwargs={},
            options=options,
            message_id=envelope.id,
        )
        return message, None if stride is None else ceil(stride.total_seconds() * 1000)

    def _pipe(self, planned: Iterable[tuple[Message[Any], int | None]]) -> None:
        self.broker._max_unpack_size()  # asks Redis, the first time, which a pipeline cannot
        with self.broker.client.pipeline() as pipeline:
            piped = copy(self.broker)
            piped.scripts = {**piped.scripts, "dispatch": partial(piped.scripts["dispatch"], client=pipeline)}
            for message, delay in planned:
                type(piped).enqueue(piped, message, delay=delay)
            pipeline.execute()


def is_a(kind: str, broker: Broker) -> bool:
    """Without importing what talks to a broker that nobody uses."""
    return any(cls.__module__ == f"dramatiq.brokers.{kind}" for cls in type(broker).__mro__)
