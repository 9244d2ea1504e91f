"""The class of an error, as attributes say it."""

from __future__ import annotations


def type_of(error: BaseException) -> str:
    """``KeyError``, ``shop.errors.CardRefused``."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
