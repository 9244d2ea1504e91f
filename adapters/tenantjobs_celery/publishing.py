"""What leaves with a message: the scope of the call, also for the signatures that the message embeds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery._state import get_current_worker_task
from celery.utils.imports import instantiate

from tenantjobs.carriage import captured
from tenantjobs.signer import configured
from tenantjobs_celery import deferral, delivery
from tenantjobs_celery.header import KEY
from tenantjobs_celery.policy import Policy
from tenantjobs_celery.sealing import FOLLOWERS, seal
from tenantjobs_celery.signatures import stamped

logger = logging.getLogger("tenantjobs.celery")

Send = Callable[..., Any]


class CoveredAmqp:
    """``app.amqp_cls``: the class that was there, whose object is covered when the app makes it."""

    def __init__(self, original: Any, policy: Policy) -> None:
        self.original = original
        self.policy = policy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        amqp = instantiate(self.original, *args, **kwargs)
        _cover(amqp, self.policy)
        return amqp


def cover(app: Any, policy: Policy) -> None:
    """Every message of this app from now on. Neither its configuration nor its AMQP object is made for that."""
    if "amqp" in vars(app):
        _cover(app.amqp, policy)
    else:
        app.amqp_cls = CoveredAmqp(app.amqp_cls, policy)


def _cover(amqp: Any, policy: Policy) -> None:
    create = amqp._create_task_sender
    amqp._create_task_sender = lambda: _carrying(create(), amqp.app, policy)
    made = vars(amqp).get("send_task_message")
    if made is not None:
        amqp.send_task_message = _carrying(made, amqp.app, policy)


def _carrying(send: Send, app: Any, policy: Policy) -> Send:
    """``app.amqp.send_task_message``, in which whatever is sent ends. ``SerializationError`` if a scope cannot travel.

    The signal before_task_publish would do for what leaves at once, but its receivers can refuse nothing.
    """

    @wraps(send)
    def carry(producer: Any, name: str, message: Any, **options: Any) -> Any:
        if name == delivery.WRAPPER:  # its scope is in the envelope, and it has waited for the commit if it must
            return send(producer, name, message, **options)
        came_with = delivery.running()
        if came_with is not None and _is_retry(message):
            # The same delivery again, wherever in the task it was asked for.
            _put(came_with.header, name, message, options, None)
            return send(producer, name, message, **options)
        _put(captured(policy.tenancy, logger), name, message, options, None if came_with is None else came_with.header)
        if not policy.after_commit or deferral.sends_at_once():
            return send(producer, name, message, **options)
        return deferral.on_commit(send, app, producer, name, message, options)

    return carry


def _put(scope: Any, name: str, message: Any, options: dict[str, Any], passed_on: object) -> None:
    """Write the scope into the message and what it embeds, save where headers of the user say another one."""
    given = options.get("headers") or {}
    chosen = given.get(KEY)
    if chosen is not None and chosen is passed_on:  # by a task that hands on the headers that it came with
        options["headers"] = {name: value for name, value in given.items() if name != KEY}
        chosen = None
    if scope is not None and chosen is None:
        message.headers[KEY] = scope
    within = scope or chosen
    if within is not None:
        body = message.body
        embedded = body if isinstance(body, dict) else body[2]  # protocol 1, protocol 2
        if any(map(embedded.get, FOLLOWERS)):
            _embed(embedded, within)
    if configured() is not None:
        seal(name, message, options)


def _is_retry(message: Any) -> bool:
    # A task that replaces this one has its id too, and is a call like any other.
    fields = message.body if isinstance(message.body, dict) else message.headers  # protocol 1, protocol 2
    task: Any = get_current_worker_task()
    return task is not None and fields.get("id") == task.request.id and fields.get("retries", 0) > task.request.retries


def _embed(embedded: dict[str, Any], scope: str) -> None:
    for name in FOLLOWERS:
        if embedded.get(name):
            embedded[name] = stamped(embedded[name], scope)
