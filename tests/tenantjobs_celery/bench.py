"""A Celery app without a server: messages wait in memory, and are run as a worker of one thread would run them."""

from __future__ import annotations

import uuid
from typing import Any

from celery import Celery
from celery.utils.imports import symbol_by_name
from celery.worker.strategy import proto1_to_proto2
from kombu.serialization import prepare_accept_content


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.app = Celery(f"bench-{uuid.uuid4().hex[:8]}", set_as_current=False)
        self.queue = uuid.uuid4().hex
        self.app.conf.update(
            {
                "broker_url": "memory://",
                "result_backend": "cache+memory://",
                "task_default_queue": self.queue,
                **settings,
            }
        )

    def task(self, *args: Any, **options: Any) -> Any:
        """``app.task``, of this app alone."""
        return self.app.task(*args, shared=False, **options)

    def waiting(self) -> list[Any]:
        """The messages that are waiting, taken off the queue."""
        found = []
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            channel.queue_declare(queue=self.queue)
            while (message := channel.basic_get(queue=self.queue, no_ack=True)) is not None:
                message.accept = prepare_accept_content(self.app.conf.accept_content)
                found.append(message)
        return found

    def work(self) -> list[Any]:
        """Run what waits, and what that sends, and so on; the headers of the messages."""
        self.app.set_current()  # as in a worker: signatures that were stored look for it
        seen = []
        while messages := self.waiting():
            for message in messages:
                seen.append(dict(message.headers))
                self.request(message).execute()
        return seen

    def request(self, message: Any) -> Any:
        """The message as a worker takes it up."""
        name = message.headers.get("task") or message.payload["task"]
        task = self.app.tasks[name]
        request = symbol_by_name(task.Request)
        if "task" in message.headers:
            return request(message, app=self.app, task=task)
        body, headers, decoded, utc = proto1_to_proto2(message, message.payload)
        return request(message, app=self.app, task=task, body=body, headers=headers, decoded=decoded, utc=utc)

    def close(self) -> None:
        self.app.close()
