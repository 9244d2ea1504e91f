"""Messages that wait for the open transaction, with ``install(app, after_commit=True)``.

Id, scope and arguments are those of the call, and so is the result object. Signals and events about the message are
those of the moment at which it leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

from kombu import serialization
from kombu.pools import producers

from tenantjobs import transaction
from tenantjobs_celery.around import Around

_at_once: ContextVar[bool] = ContextVar("tenantjobs_celery_at_once", default=False)


def sends_at_once() -> bool:
    """Whether what is sent here belongs to a replacement of the running task."""
    return _at_once.get()


def on_commit(
    send: Callable[..., Any], app: Any, producer: Any, name: str, message: Any, options: dict[str, Any]
) -> Any:
    """Send when the open transaction has committed, or now if there is none."""
    frozen = _frozen(message, options.get("serializer") or app.conf.task_serializer)
    headers = {"headers": dict(options["headers"])} if options.get("headers") else {}
    # The producer has other users by then, and may be closed: another one of the same broker takes its place.
    connection, context = producer.connection, copy_context()

    def leave() -> None:
        with producers[connection].acquire(block=True) as later:
            context.run(send, later, name, frozen, **{**options, **headers})

    return None if transaction.defer(leave) else send(producer, name, message, **options)


def _frozen(message: Any, serializer: str) -> Any:
    """As the worker will get it, since the caller may go on to change what it has sent."""
    codec: Any = serialization
    content_type, encoding, data = codec.dumps(message.body, serializer)
    body = codec.loads(data, content_type, encoding, force=True)
    return message._replace(
        body=tuple(body) if isinstance(message.body, tuple) else body, headers=dict(message.headers)
    )


class Replacing(Around):
    """``Task.on_replace``, whose messages do not wait: it ends in an exception, by which a transaction rolls back."""

    def __call__(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        token = _at_once.set(True)
        try:
            return self.of(task)(*args, **kwargs)
        finally:
            _at_once.reset(token)
