"""Our jobs in the queues of a Celery app: which queue, and what a priority is called there."""

from __future__ import annotations

from typing import Any

from kombu.entity import Queue

from tenantjobs import priorities
from tenantjobs.errors import UnsupportedCapability


class Queues:
    """The queues of one app. What the user has declared is used as it is."""

    def __init__(self, app: Any) -> None:
        self.app = app
        with app.connection_for_write() as connection:
            self.driver = connection.transport.driver_type
        if self.driver == "redis":
            # By default Redis keeps four lists to a queue, and priorities between them are one.
            options = app.conf.broker_transport_options
            app.conf.broker_transport_options = {"priority_steps": list(range(priorities.LAST + 1)), **options}

    @property
    def orders(self) -> bool:
        """Whether this broker can put one message before another."""
        return self.driver in ("amqp", "redis")

    def named(self, name: str) -> Any:
        """The queue, declared with priorities if the app has not declared it."""
        queues = self.app.amqp.queues
        if name not in queues:
            arguments = {"x-max-priority": priorities.LAST} if self.driver == "amqp" else None
            new: Any = Queue
            queues.add(new(name, exchange="", routing_key=name, queue_arguments=arguments))
        return queues[name]

    def native_priority(self, name: str, priority: int) -> int | None:
        """What the broker calls our ``priority``; ``UnsupportedCapability`` where a queue of the user's has none."""
        place = priorities.place(priority)
        if self.driver == "redis":
            return place  # the only one where lower is sooner, as with us
        elif self.driver != "amqp":
            return None
        highest = self._highest(name)
        if highest >= priorities.LAST:
            return priorities.LAST - place
        elif priority:
            raise UnsupportedCapability(
                f"the queue {name!r} is declared by the Celery app with x-max-priority={highest}, and priority "
                f"{priority} needs {priorities.LAST}: declare it so, or leave it to the adapter"
            )
        return None

    def _highest(self, name: str) -> int:
        queue = self.named(name)
        arguments = queue.queue_arguments or {}
        return int(arguments.get("x-max-priority") or queue.max_priority or 0)
