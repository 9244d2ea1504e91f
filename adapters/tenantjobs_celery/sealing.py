"""What of a message its seal covers: the task and its id, the arguments, and whatever is to follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.utils import json

from tenantjobs.carriage import text
from tenantjobs.seal import json_of, sealed
from tenantjobs.signer import Part
from tenantjobs_celery.header import KEY

# What Celery sends for a task when that has ended.
FOLLOWERS = ("callbacks", "errbacks", "chain", "chord")


def covered(name: str, task_id: str | None, args: object, kwargs: object, followers: Mapping[str, Any]) -> list[Part]:
    """Of a message that is to be sent, or of one that has come. ``followers`` are among the fields of either."""
    following = [followers.get(each) or None for each in FOLLOWERS]
    texts = [json_of(tree, json.dumps, json.loads) for tree in ([args, kwargs], following)]
    return ["celery", name, task_id or "", *texts]


def seal(name: str, message: Any, options: dict[str, Any]) -> None:
    """Seal a message that is about to leave, whoever chose its scope: what comes from others has been looked at."""
    given = options.get("headers") or {}
    if KEY in given:
        chosen = text(given[KEY]) if isinstance(given[KEY], dict) else given[KEY]
        options["headers"] = {**given, KEY: sealed(chosen, lambda: _of(name, message))}
    else:
        message.headers[KEY] = sealed(message.headers.get(KEY), lambda: _of(name, message))


def _of(name: str, message: Any) -> list[Part]:
    if isinstance(message.body, dict):  # protocol 1
        body = message.body
        return covered(name, body["id"], body["args"], body["kwargs"], body)
    args, kwargs, embed = message.body
    return covered(name, message.headers["id"], args, kwargs, embed)
