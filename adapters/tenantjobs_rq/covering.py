"""Functions of RQ, covered in place by functions of ours that call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def cover(owner: Any, name: str, wrap: Wrap) -> None:
    """Let ``owner.name`` be ``wrap`` of what it was: a function, a method, a class method or a property. Once."""
    found = vars(owner)[name]
    original: Any
    kind: Any
    if isinstance(found, classmethod):
        original, kind = found.__func__, classmethod
    elif isinstance(found, property):
        original, kind = found.fget, property
    else:
        original, kind = found, lambda function: function
    if not hasattr(original, "covers"):
        covering: Any = wrap(original)
        covering.covers = original
        setattr(owner, name, kind(covering))
