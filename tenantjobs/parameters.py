"""What a callable can be called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def required_positionals(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` insists on."""
    return sum(1 for parameter in _positional(function) if parameter.default is parameter.empty)


def positionals(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` takes at most; a handful if it takes any number, or does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins do not say
        return 3
    return 3 if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(_positional(function))


def is_async(function: object) -> bool:
    """Whether calling ``function`` gives something to await, as far as can be told without calling it."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    return [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
