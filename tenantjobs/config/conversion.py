"""From what was written to typed values: every mistake is reported, each at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from tenantjobs.config.mistakes import Mistakes, meant
from tenantjobs.config.settings import Origin, Settings
from tenantjobs.spelling import nearest

S = TypeVar("S", bound=msgspec.Struct)

_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/\s]*@")
_SECRET = re.compile(r"secret|password|token|(?:^|[_.])keys?$", re.IGNORECASE)


def section(settings: Settings, name: str, struct: type[S]) -> S:
    """The section ``[name]`` as a ``struct``; ``Misconfigured`` lists everything that is wrong with it.

    Texts from the environment become the numbers and truth values that the struct declares. A field declared as a
    ``Path`` is relative to the file that it was written in.
    """
    mistakes = Mistakes()
    values = settings.sections.get(name, {})
    origins = {key: settings.origins.get(f"{name}.{key}", Origin(f"{name}.{key}")) for key in values}
    converted = convert(struct, values, origins, mistakes, table=name)
    mistakes.check()
    assert converted is not None
    return converted


def convert(
    struct: type[S], values: Mapping[str, Any], origins: Mapping[str, Origin], mistakes: Mistakes, *, table: str
) -> S | None:
    """``values`` as a ``struct``, or None when mistakes were found."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    converted: dict[str, Any] = {}
    wrong = False
    for key, value in values.items():
        origin = origins[key]
        if key in fields:
            found = convert_value(value, fields[key].type, origin, mistakes, key=f"{table}.{key}")
            wrong = wrong or found is msgspec.UNSET
            converted[fields[key].name] = found
        elif not origin.text:
            mistakes.add(origin, f"unknown key {key!r} in [{table}]{meant(key, fields)}")
            wrong = True
        elif (known := nearest(key, fields)) is not None:
            # Other variables may begin like ours without being meant for us: Kubernetes makes some.
            mistakes.add(origin, f"is no setting; did you mean {variable(table, known)}?")
            wrong = True
    for name, field in fields.items():
        if field.required and name not in values:
            mistakes.add(f"[{table}]", f"{name} is missing: write it there, or set {variable(table, name)}")
            wrong = True
    if wrong:
        return None
    try:
        return struct(**converted)
    except (ValueError, TypeError) as error:
        mistakes.add(f"[{table}]", str(error))
        return None


def convert_value(value: Any, kind: Any, origin: Origin, mistakes: Mistakes, *, key: str) -> Any:
    """``value`` as ``kind``, or ``msgspec.UNSET`` when it is a mistake."""
    if origin.text and get_origin(kind) is tuple and isinstance(value, str):
        value = value.split()  # a variable lists words
    try:
        return msgspec.convert(value, kind, strict=not origin.text, dec_hook=partial(_path, origin.directory))
    except msgspec.ValidationError as error:
        choices = [str(choice) for choice in _choices(kind)]
        if choices and isinstance(value, str):
            what = f"{shown(key, value)} is none of {', '.join(choices)}"
            found = nearest(value, choices)
            what += f"; did you mean {found}?" if found else ""
        else:
            what = f"{_plain(str(error))}: {shown(key, value)}"
        mistakes.add_value(origin, key, what)
        return msgspec.UNSET


def variable(*key: str) -> str:
    """The environment variable that sets ``key``."""
    return "_".join(("TENANTJOBS", *key)).upper().replace("-", "_")


def shown(key: str, value: object) -> str:
    """``value`` as it may be printed: passwords and secrets are not."""
    masked = presentable(key, value)
    return repr(masked) if type(masked) is type(value) else str(masked)


def presentable(key: str, value: object) -> object:
    """``value`` without passwords and secrets: itself if it is a plain value, else a text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    elif _SECRET.search(key):
        return "***"
    elif isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    else:
        return _PASSWORD.sub(r"\1:***@", value if isinstance(value, str) else repr(value))


def _path(directory: str | None, kind: type, value: Any) -> Any:
    # Imported here: few settings are paths, and every importer of tenantjobs would pay for it.
    from pathlib import Path  # noqa: PLC0415

    if kind is Path and isinstance(value, str | Path):
        return Path(directory or "", value)
    raise msgspec.ValidationError(f"Expected `{getattr(kind, '__name__', kind)}`, got `{type(value).__name__}`")


def _choices(kind: Any) -> Iterator[Any]:
    for argument in get_args(kind):
        if get_origin(kind) is Literal:
            yield argument
        else:
            yield from _choices(argument)


def _plain(message: str) -> str:
    message = message.replace(" - at `$`", "").replace("`$.", "`").replace("`", "")
    return message[:1].lower() + message[1:]
