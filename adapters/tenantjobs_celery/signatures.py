"""Signatures that travel inside a message: callbacks, chains, bodies of chords. They are sent from wherever it ends."""

from __future__ import annotations

from typing import Any

from tenantjobs_celery.header import KEY

# The parts that Celery sends on their own. What is set on the whole is set on each part, and replaces what they have.
_PARTS = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}
_FOLLOWERS = ("link", "link_error", "chain", "chord")


def stamped(signature: Any, header: str) -> Any:
    """A copy of the signature that carries ``header``, and so do all that are inside it. Those that have one keep it.

    Takes a signature, the dict that it travels as, or several of them. The original is never changed: its owner may
    send it again for another tenant.
    """
    if not isinstance(signature, dict):
        return signature if isinstance(signature, (str, bytes)) else _each(signature, header)
    copy = _copy(signature)
    copy["options"] = options = dict(copy.get("options") or {})
    for name in _FOLLOWERS:
        if options.get(name):
            options[name] = stamped(options[name], header)
    parts = _PARTS.get(copy.get("subtask_type") or "", ())
    if parts:
        copy["kwargs"] = {name: stamped(value, header) if name in parts else value for name, value in _kwargs(copy)}
    own = options.get("headers")
    if not parts or own:
        options["headers"] = {KEY: header, **(own or {})}
    return copy


def _each(signatures: Any, header: str) -> Any:
    try:
        return [stamped(signature, header) for signature in signatures]
    except TypeError:
        return signatures


def _kwargs(signature: dict[str, Any]) -> Any:
    return (signature.get("kwargs") or {}).items()


def _copy(signature: dict[str, Any]) -> dict[str, Any]:
    """Of the same class, for serializers that keep classes. Constructors of signatures do more than copy."""
    copy: dict[str, Any] = dict.__new__(type(signature))
    dict.update(copy, signature)
    getattr(copy, "__dict__", {}).update(getattr(signature, "__dict__", {}))
    return copy
