"""What leaves with a message: the scope of the call, and with ``after_commit`` not before the commit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

from dramatiq import Message

from tenantjobs import transaction
from tenantjobs.carriage import KEY, Tenancy, captured, write
from tenantjobs.current import Current, Snapshot
from tenantjobs.seal import Own
from tenantjobs.signer import configured
from tenantjobs_dramatiq.performing import NAME
from tenantjobs_dramatiq.sealing import CALLBACKS, Captured, seal

logger = logging.getLogger("tenantjobs.dramatiq")

Enqueue = Callable[..., Any]


def options(snapshot: Snapshot | None = None) -> dict[str, Any]:
    """The message options of a scope, by default of the one in force, for senders that have none: a scheduler.

    with Current.system("nightly report"):
        scheduled = report.message_with_options(**tenantjobs_dramatiq.options())
    """
    header = write(Current.capture() if snapshot is None else snapshot)
    return {} if header is None else {KEY: Own(header)}


def carrying(enqueue: Enqueue, tenancy: Tenancy, after_commit: bool) -> Enqueue:
    """``broker.enqueue`` that sends a copy with the scope of the call. ``SerializationError`` if that cannot travel.

    The object that was given stays as it is: it may be sent again, by another tenant.
    """

    @wraps(enqueue)
    def carry(message: Any, *args: Any, **kwargs: Any) -> Any:
        # A worker sends a retry as the MessageProxy that it got: the same delivery, and its option is there already.
        # A job of ours has its scope in its envelope, and has waited for the commit.
        if not isinstance(message, Message) or message.actor_name == NAME:
            return enqueue(message, *args, **kwargs)
        options = message.options
        if KEY in options or CALLBACKS in options:
            message = _with_scope(message, tenancy)
        else:
            header = captured(tenancy, logger)
            if header is not None:
                message = _copy(message, {**options, KEY: _of_text(header)})
        if configured() is not None:
            message = _copy(message, dict(message.options))
            seal(message)
        if not after_commit:
            return enqueue(message, *args, **kwargs)
        message = type(message).decode(message.encode())  # the arguments are those of the call
        sent: list[Any] = []
        transaction.on_commit(lambda: sent.append(enqueue(message, *args, **kwargs)))
        return sent[0] if sent else message

    return carry


def _with_scope(message: Message[Any], tenancy: Tenancy) -> Message[Any]:
    """Of a message that came with one, or that others are to follow; the very one where there is nothing to do."""
    options = message.options
    found = options.get(KEY)
    callbacks = options.get(CALLBACKS)
    given = found is not None and not isinstance(found, Captured)
    if given and not callbacks:
        return message
    text = captured(tenancy, logger)
    new = dict(options)
    if text is not None:
        header = _of_text(text)
        if not given:
            new[KEY] = header
        if callbacks:
            new[CALLBACKS] = [_of_the_call(each, header) for each in callbacks]
    elif found is None:
        return message
    elif not given:
        del new[KEY]
    return _copy(message, new)


@lru_cache(maxsize=1024)
def _of_text(header: str) -> Captured:
    """The same tenants come again and again."""
    return Captured(header)


def _copy(message: Message[Any], options: dict[str, Any]) -> Message[Any]:
    """As ``Message.copy``, at a tenth of its time: each message that is sent pays for it."""
    copy = object.__new__(type(message))
    fields = vars(copy)  # the class is frozen
    fields.update(vars(message))
    fields["options"] = options
    return copy


def _of_the_call(callback: dict[str, Any], header: Captured) -> dict[str, Any]:
    """For whom the group is run. Whichever of its messages ends last sends the callback, perhaps another tenant's."""
    return {**callback, "options": {KEY: header, **callback["options"]}}
