"""What leaves with a message: the scope of the call, also for the signatures that the message embeds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery._state import get_current_worker_task

from tenantjobs.current import Current
from tenantjobs_celery import delivery
from tenantjobs_celery.header import KEY, Header, refusal, write
from tenantjobs_celery.signatures import stamped

logger = logging.getLogger("tenantjobs.celery")


def capture(*, headers: dict[str, Any], body: Any, **_: object) -> None:
    """Receives ``before_task_publish``: writes the scope of the call into the message and what it embeds."""
    in_body = isinstance(body, dict)  # protocol 1
    running = _running()
    came_with = delivery.of(running)
    if came_with is not None and _is_retry(body if in_body else headers, running.request):
        # The same delivery again, wherever in the task it was asked for.
        scope: Any = came_with.header
        if headers.get(KEY) is None and scope is not None:
            headers[KEY] = scope
    else:
        scope = _in_force()
        chosen = headers.get(KEY)
        if chosen is None or (came_with is not None and chosen is came_with.header):  # passed on with other headers
            headers.pop(KEY, None)
            if scope is not None:
                headers[KEY] = scope
        scope = scope or headers.get(KEY)
    if scope is not None:
        _embed(body if in_body else body[2], scope)


def refuse_at_the_call(send_task: Callable[..., Any]) -> Callable[..., Any]:
    """``app.send_task`` that raises the ``SerializationError`` of a scope that cannot travel. Signals lose it."""

    @wraps(send_task)
    def checked(*args: Any, **kwargs: Any) -> Any:
        running = _running()
        if running is None or running.request.id != kwargs.get("task_id"):  # a retry takes the scope it came with
            Current.capture()
        return send_task(*args, **kwargs)

    return checked


def _running() -> Any:
    return get_current_worker_task()


def _in_force() -> Header | None:
    try:
        return write(Current.capture())
    except Exception as error:
        logger.exception("the scope of this call cannot travel, and whoever gets the message will be told so")
        return refusal(error)


def _is_retry(fields: dict[str, Any], request: Any) -> bool:
    # A task that replaces this one has its id too, and is a call like any other.
    return bool(fields.get("id") == request.id and fields.get("retries", 0) > request.retries)


def _embed(embedded: dict[str, Any], scope: Header) -> None:
    for name in ("callbacks", "errbacks", "chain", "chord"):
        if embedded.get(name):
            embedded[name] = stamped(embedded[name], scope)
