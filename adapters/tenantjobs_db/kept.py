"""A property that is made when it is first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar, overload


class Opening(Protocol):
    """What has such properties, and the lock under which they are made: each of them once, by whichever thread."""

    _opening: RLock


O = TypeVar("O", bound=Opening)  # noqa: E741
T = TypeVar("T")


class kept(Generic[O, T]):
    """A method without arguments as such a property. What it has made is an attribute of the object from then on."""

    def __init__(self, make: Callable[[O], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> kept[O, T]: ...
    @overload
    def __get__(self, instance: O, owner: type) -> T: ...
    def __get__(self, instance: O | None, owner: type) -> Any:
        if instance is None:
            return self
        made = vars(instance)
        with instance._opening:
            if self._name not in made:
                made[self._name] = self._make(instance)
            return made[self._name]
