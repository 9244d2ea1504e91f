"""Enums, dataclasses and structs in messages: by the name of their class, which is never imported to read one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from functools import lru_cache
from inspect import Parameter, signature
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from tenantjobs.codec.scalars import Refused, name_of

NO_TYPES: Mapping[str, type] = {}
_WITH_MORE_THAN_FIELDS = (int, float, str, bytes, list, tuple, dict, set, frozenset, BaseException)


class Shape(msgspec.Struct, frozen=True):
    """How the values of one class are taken apart and put together again."""

    tag: str
    given: frozenset[str]  # fields that the constructor takes
    made: frozenset[str]  # fields that it does not take


def types_of(annotations: Mapping[str, object] | Iterable[object]) -> dict[str, type]:
    """Every enum, dataclass and struct that the annotations reach, through containers and fields, by path.

    Takes resolved annotations (as ``typing.get_type_hints`` gives them) or just their values; texts are passed over.
    """
    found: dict[str, type] = {}
    waiting: list[Any] = list(annotations.values() if isinstance(annotations, Mapping) else annotations)
    seen: list[Any] = []
    while waiting:
        annotation = waiting.pop()
        if not any(annotation is other for other in seen):
            seen.append(annotation)
            if isinstance(annotation, type) and _travels(annotation):
                found[path_of(annotation)] = annotation
                waiting.extend(_field_types(annotation))
            elif isinstance(annotation, Enum):  # Literal[Color.RED]
                waiting.append(type(annotation))
            waiting.extend((get_origin(annotation), *get_args(annotation)))
            waiting.extend(_behind(annotation))
    return found


def path_of(kind: type) -> str:
    """``module:Qualified.Name``, the name of a class in messages."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"


def module_name(name: str) -> str:
    """The name under which other processes import a module; a script that runs as ``__main__`` is known by its file."""
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    return os.path.splitext(os.path.basename(getattr(main, "__file__", None) or name))[0]


def find(path: str, types: Mapping[str, type]) -> type:
    """The class of this path: one of ``types``, or of a module that is imported already. ``ValueError`` if neither."""
    found = types.get(path)
    if found is None:
        module, _, qualname = path.partition(":")
        found = _within(_imported(module), qualname)
    if found is None:
        raise ValueError(
            f"no class {path} is loaded in this process, and a module named in a message is never imported: import it "
            "in the app of the worker, or name the class in the job's annotations"
        )
    return found


def require_findable(kind: type, types: Mapping[str, type]) -> None:
    """``Refused`` for a class that a worker could not find by its path."""
    if (
        types.get(path_of(kind)) is not kind
        and _within(sys.modules.get(kind.__module__), kind.__qualname__) is not kind
    ):
        raise Refused(
            f"is of type {name_of(kind)}, which a worker could not find by this name: define it at the top level of "
            "a module, or name it in the job's annotations"
        )


@lru_cache(maxsize=1024)
def shape_of(kind: type[Any]) -> Shape | None:
    """How values of the class travel, None if it is neither a dataclass nor a struct; ``Refused`` if they cannot."""
    if issubclass(kind, msgspec.Struct):
        return Shape("$struct", frozenset(kind.__struct_fields__), frozenset())
    elif is_dataclass(kind) and not issubclass(kind, _WITH_MORE_THAN_FIELDS):
        given = frozenset(field.name for field in dataclass_fields(kind) if field.init)
        if not _takes_exactly(kind, given):
            raise Refused(
                f"is of type {name_of(kind)}, which could not be put together again, as its constructor does not "
                "take its fields and nothing else: drop the InitVar or the __init__ of its own, or pass plain values"
            )
        made = frozenset(field.name for field in dataclass_fields(kind)) - given
        return Shape("$dataclass", given, made)
    else:
        return None


def fields_of(value: Any, shape: Shape) -> dict[str, object]:
    """The fields of a value by name, in their order; one that the constructor does not take may never have been set."""
    names = value.__struct_fields__ if isinstance(value, msgspec.Struct) else value.__dataclass_fields__
    return {
        name: getattr(value, name)
        for name in names
        if name in shape.given or (name in shape.made and hasattr(value, name))
    }


def build(kind: type, shape: Shape, values: Mapping[str, object]) -> object:
    """A value of the class with exactly these fields. The constructor is run, for what it sets beside them."""
    unknown = values.keys() - shape.given - shape.made
    if unknown:
        raise ValueError(f"{name_of(kind)} has no field {', '.join(sorted(unknown))} in this process")
    built = kind(**{name: value for name, value in values.items() if name in shape.given})
    for name, value in values.items():  # what __post_init__ makes of its fields was done before they travelled
        if isinstance(built, msgspec.Struct):
            msgspec.structs.force_setattr(built, name, value)
        else:
            object.__setattr__(built, name, value)
    return built


def _takes_exactly(kind: type, names: frozenset[str]) -> bool:
    try:
        parameters = signature(kind).parameters
    except (TypeError, ValueError):
        return False
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return parameters.keys() == names and all(parameter.kind in by_name for parameter in parameters.values())


def _imported(name: str) -> ModuleType | None:
    module = sys.modules.get(name)
    return sys.modules["__main__"] if module is None and name == module_name("__main__") else module


def _within(module: ModuleType | None, qualname: str) -> type | None:
    """The class at that place. Only dictionaries are read: a module's or class's ``__getattr__`` might import."""
    found: object = module
    for name in qualname.split("."):
        found = _dictionary(found).get(name)
    return found if isinstance(found, type) else None


def _dictionary(thing: object) -> Mapping[str, object]:
    # In this order: isinstance() asks a thing of another type for its __class__, and a lazy module imports itself then.
    if isinstance(thing, ModuleType):
        return object.__getattribute__(thing, "__dict__")  # type: ignore[no-any-return]  # what a module holds
    elif isinstance(thing, type):
        return type.__dict__["__dict__"].__get__(thing)  # type: ignore[no-any-return]  # what a class holds
    else:
        return {}


def _travels(kind: type) -> bool:
    return issubclass(kind, (Enum, msgspec.Struct)) or is_dataclass(kind)


def _field_types(kind: type) -> Iterable[object]:
    try:
        return get_type_hints(kind).values()
    except Exception:  # a name that exists for type checkers only; such classes are found by module then
        return ()


def _behind(annotation: Any) -> Iterable[object]:
    """What a NewType, a ``type`` alias or a TypeVar stands for."""
    if isinstance(annotation, type):
        return ()
    try:
        bounds = [getattr(annotation, name, None) for name in ("__supertype__", "__value__", "__bound__")]
        return (*bounds, *getattr(annotation, "__constraints__", ()))
    except Exception:  # they are evaluated when they are asked for, and may name what is missing
        return ()
