"""The mapped classes by the names that their records travel under.

A worker has to find ``Order`` without having seen one. Classes that are mapped while this module is loaded announce
themselves; those that were mapped before are found through the declarative bases, or by ``install(..., base=Base)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

from sqlalchemy import event, inspect
from sqlalchemy.orm import DeclarativeBase, DeclarativeBaseNoMeta, Mapper, registry

from tenantjobs.errors import ConfigurationError


def name_of(cls: type) -> str:
    """The name of the class; with its module in front if another mapped class has the same name."""
    learn(cls)
    known = _places.get(cls.__name__, {})
    return cls.__name__ if sum(is_mapped(other()) for other in known.values()) < 2 else _place(cls)


def find(name: str) -> type | None:
    """The mapped class of this name; ``ConfigurationError`` if there are several."""
    simple = name.rpartition(".")[2]
    found = {place: cls for place, reference in _places.get(simple, {}).items() if is_mapped(cls := reference())}
    if name in found:
        return found[name]
    if name != simple or not found:
        return None
    if len(found) > 1:
        raise ConfigurationError(
            f"{name!r} could be {' or '.join(sorted(found))}: rename one of these classes, or enqueue in a process "
            f"that has imported both, where the names of their records say which is meant"
        )
    return next(iter(found.values()))


def learn(cls: type) -> None:
    """Know the class by its name. A later class of the same place is the same one, defined again."""
    known = _places.setdefault(cls.__name__, {}).get(_place(cls))
    if known is None or known() is not cls:
        _places[cls.__name__][_place(cls)] = ref(cls)


def learn_all(source: registry) -> None:
    """Know all classes of the registry."""
    for mapper in source.mappers:
        learn(mapper.class_)


def is_mapped(cls: type | None) -> bool:
    """Whether the class is there and mapped."""
    return cls is not None and isinstance(inspect(cls, raiseerr=False), Mapper)


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _bases() -> Iterator[Any]:
    waiting: list[type] = [*DeclarativeBase.__subclasses__(), *DeclarativeBaseNoMeta.__subclasses__()]
    while waiting:
        base = waiting.pop()
        if "registry" in vars(base):
            yield base
        else:
            waiting += base.__subclasses__()


def _mapped(_mapper: Mapper[Any], cls: type) -> None:
    learn(cls)


_places: dict[str, dict[str, ref[type]]] = {}
event.listen(Mapper, "after_mapper_constructed", _mapped)
event.listen(Mapper, "mapper_configured", _mapped)  # mapped by other means before, and not used so far
for _base in _bases():
    learn_all(_base.registry)
