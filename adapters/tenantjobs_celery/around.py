"""Methods of a task class that are called around those that were there."""

from __future__ import annotations

from types import MethodType
from typing import Any


class Around:
    """Takes the place of ``original``, whether that is a function, a class method or another one of these."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        return self if task is None else MethodType(self, task)

    def __call__(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def of(self, task: Any) -> Any:
        """The original, as the method that it is."""
        return self.original.__get__(task, type(task)) if hasattr(self.original, "__get__") else self.original
