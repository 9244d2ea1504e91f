"""One layer of configuration: options and sections as they were written in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tenantjobs.config.conversion import convert_value
from tenantjobs.config.entry_points import installed
from tenantjobs.config.mistakes import Mistakes, meant
from tenantjobs.config.settings import OPTIONS, Origin


class Written(NamedTuple):
    """A value and the place where it was written."""

    value: Any
    origin: Origin


class Layer(msgspec.Struct, frozen=True):
    """Options by name, and sections by name and key. Never changed: merging makes a new one."""

    options: Mapping[str, Written] = {}
    sections: Mapping[str, Mapping[str, Written]] = {}

    def under(self, upper: Layer) -> Layer:
        """This layer with ``upper`` over it, key by key."""
        sections = dict(self.sections)
        for name, keys in upper.sections.items():
            sections[name] = _over(sections.get(name, {}), keys)
        return Layer({**self.options, **upper.options}, sections)


def layer(values: Mapping[str, Any], origin: Callable[..., Origin], mistakes: Mistakes) -> Layer:
    """What ``values`` say; ``origin`` tells of an option, or of a section and its key, where it was written."""
    options: dict[str, Written] = {}
    sections: dict[str, dict[str, Written]] = {}
    for key, value in values.items():
        if key in OPTIONS:
            options[key] = option(key, value, origin(key), mistakes)
        elif isinstance(value, Mapping):
            sections[key] = {inner: Written(found, origin(key, inner)) for inner, found in value.items()}
        elif key in installed():
            mistakes.add(origin(key), f"{key} is a section: its settings are keys below it, as in [{key}]")
        else:
            mistakes.add(origin(key), f"unknown key {key!r}{meant(key, OPTIONS)}")
    return Layer(options, sections)


def option(key: str, value: Any, origin: Origin, mistakes: Mistakes) -> Written:
    """The option ``key`` with its value checked."""
    converted = convert_value(value, OPTIONS[key], origin, mistakes, key=key)
    if key == "app" and isinstance(converted, str) and not all(map(str.isidentifier, converted.split("."))):
        module = converted.partition(":")[0]
        what = f"{converted!r} is no module; write its dotted name alone, as in {module!r}"
        mistakes.add_value(origin, key, what)
    return Written(converted, origin)


def _over(lower: Mapping[str, Written], upper: Mapping[str, Written]) -> dict[str, Written]:
    merged = dict(lower)
    for key, (value, origin) in upper.items():
        below = merged[key].value if key in merged else None
        merged[key] = Written(_deep(below, value), origin)
    return merged


def _deep(lower: Any, upper: Any) -> Any:
    if isinstance(lower, Mapping) and isinstance(upper, Mapping):
        return {**lower, **{key: _deep(lower.get(key), value) for key, value in upper.items()}}
    return upper
