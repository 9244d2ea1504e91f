"""The seal of a message: over the actor, the id, the arguments, and the messages that are to follow it."""

from __future__ import annotations

import json
from typing import Any

from tenantjobs.carriage import KEY
from tenantjobs.seal import Own, json_of, sealed
from tenantjobs.signer import Part

CALLBACKS = "group_completion_callbacks"  # an option of Dramatiq: messages, as the dicts that they travel as
TARGET = "pipe_target"  # another one: the next message of a pipeline
# Options by which a message makes others. The rest is Dramatiq's own, and changes on the way.
FOLLOWERS = (
    TARGET,
    "pipe_ignore",
    "group_completion_uuid",
    CALLBACKS,
    "on_success",
    "on_failure",
    "on_retry_exhausted",
)


class Captured(Own):
    """The header of the scope in which a message was sent; one that is sent once more gets another."""

    __slots__ = ()


def covered(message: Any) -> list[Part]:
    """Of a message that is to be sent, or of one that has come."""
    following = [message.options.get(each) for each in FOLLOWERS]
    texts = [json_of(tree, json.dumps, json.loads) for tree in ([message.args, message.kwargs], following)]
    return ["dramatiq", str(message.actor_name), str(message.message_id), *texts]


def seal(message: Any) -> None:
    """Seal a message that is about to leave, if it is ours to seal: its options are changed.

    What came off the broker is sealed, or is to be refused: a worker sends it on when its delay is over.
    """
    header = message.options.get(KEY)
    if header is None or isinstance(header, Own):
        kind = Captured if header is None else type(header)
        message.options[KEY] = kind(sealed(header, lambda: covered(message)))


def adopt(options: dict[str, Any]) -> None:
    """Let what follows a message of ours be ours, too: its seal has covered them."""
    if options.get(TARGET):
        options[TARGET] = _adopted(options[TARGET])
    if options.get(CALLBACKS):
        options[CALLBACKS] = [_adopted(each) for each in options[CALLBACKS]]


def disown(options: dict[str, Any]) -> None:
    """Let nothing follow a message that is not ours."""
    for each in FOLLOWERS:
        options.pop(each, None)


def _adopted(follower: dict[str, Any]) -> dict[str, Any]:
    options = follower["options"]
    return {**follower, "options": {**options, KEY: Own(options[KEY])}} if options.get(KEY) else follower
