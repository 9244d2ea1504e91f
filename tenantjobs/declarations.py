"""What subclasses of Current declare: one register for all of them, as they share one store."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from tenantjobs.attributes import Attribute, resolved
from tenantjobs.errors import ConfigurationError

if sys.version_info >= (3, 14):
    from annotationlib import Format, call_annotate_function, get_annotate_from_class_namespace

_RESERVED = frozenset(
    {"capture", "mro", "require_tenant", "reset", "restored", "scope", "set", "switch", "system", "tenant_id"}
)

#: The attributes of all Current classes.
known: dict[str, Attribute] = {}


def declare(namespace: dict[str, Any]) -> list[Attribute]:
    """Put attributes in the place of the annotated names of a class body; ``tenant`` is there already.

    ``ConfigurationError`` lists everything that is wrong with it.
    """
    where = f"{namespace['__module__']}.{namespace['__qualname__']}"
    problems = list(_misplaced(namespace))
    found: list[Attribute] = []
    for name, annotation in _annotated(namespace).items():
        given = namespace.pop(name, None)
        attribute = given if isinstance(given, Attribute) else Attribute(given)
        attribute.name, attribute.annotation = name, annotation
        attribute.module, attribute.qualname = namespace["__module__"], namespace["__qualname__"]
        problem = _problem(attribute)
        if problem is not None:
            problems.append(problem)
        elif name != "tenant":
            namespace[name] = attribute
            found.append(attribute)
    if problems:
        raise ConfigurationError("\n- ".join([f"{where} cannot be declared:", *problems]))
    return found


def register(cls: type, found: list[Attribute]) -> None:
    """Make the attributes known, for as long as the class that declares them is there."""
    for attribute in found:
        attribute.declared_by = weakref.ref(cls)
        known[attribute.name] = attribute


def _misplaced(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Names without an annotation that would hide something."""
    annotated = _annotated(namespace)
    for name, value in namespace.items():
        if name in annotated or name.startswith("__"):
            continue
        elif name in _RESERVED or name == "tenant":
            yield f"{name}: the name is taken by Current itself; choose another one"
        elif isinstance(value, Attribute):
            yield f"{name}: say its type, as in `{name}: str | None = attribute(...)`"
        elif name in known and _lives(known[name]):
            yield f"{name}: it would hide the attribute of {known[name].module}.{known[name].qualname}"


def _problem(attribute: Attribute) -> str | None:
    name = attribute.name
    other = known.get(name)
    if name in _RESERVED or name.startswith("_"):
        return f"{name}: the name is taken by Current itself; choose another one"
    elif type(attribute.default).__hash__ is None:
        return f"{name}: its default, a {type(attribute.default).__qualname__}, would be shared by all; use None"
    elif attribute.load and not attribute.carried:
        return f"{name}: load=True says how it travels, and carried=False that it does not; choose one"
    elif name == "tenant":
        as_it_is = attribute.default is None and attribute.carried and not attribute.load
        return None if as_it_is else "tenant: it has no options; write `tenant: Account | None = None`"
    elif other is None or _agree(attribute, other) or _replaces(attribute, other):
        return None
    else:
        return (
            f"{name}: {_described(attribute)} here, but {_described(other)} in {other.module}.{other.qualname}; as all "
            "Current classes share one store, declare it in one and inherit, or choose another name"
        )


def _agree(one: Attribute, other: Attribute) -> bool:
    return (
        (one.load, one.carried) == (other.load, other.carried)
        and type(one.default) is type(other.default)
        and one.default == other.default
        and (str(one.annotation) == str(other.annotation) or _mean_the_same(one, other))
    )


def _mean_the_same(one: Attribute, other: Attribute) -> bool:
    mine, theirs = (resolved(each.annotation, each.module) for each in (one, other))
    return mine is not None and mine == theirs


def _replaces(attribute: Attribute, other: Attribute) -> bool:
    """Whether the other one is history: its module was loaded again, or its class is gone."""
    same_place = (attribute.module, attribute.qualname) == (other.module, other.qualname)
    return (same_place and "<locals>" not in other.qualname) or not _lives(other)


def _lives(attribute: Attribute) -> bool:
    if "<locals>" in attribute.qualname:
        gc.collect()  # a class refers to itself, so nothing else frees it
    return attribute.declared_by is not None and attribute.declared_by() is not None


def _described(attribute: Attribute) -> str:
    annotation = attribute.annotation
    kind = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    options = [f"default={attribute.default!r:.40}"]
    options += ["load=True"] * attribute.load + ["carried=False"] * (not attribute.carried)
    return f"{kind} ({', '.join(options)})"


def _annotated(namespace: Mapping[str, Any]) -> dict[str, object]:
    annotations = namespace.get("__annotations__", {})
    if sys.version_info >= (3, 14):
        annotate = get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            annotations = call_annotate_function(annotate, Format.FORWARDREF)
    return {
        name: annotation
        for name, annotation in annotations.items()
        if not str(annotation).removeprefix("typing.").startswith("ClassVar")
    }
