"""Objects of the application that the configuration names, as ``"shop.db:engine"``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tenantjobs import runtime
from tenantjobs.errors import ConfigurationError
from tenantjobs.spelling import nearest


def named(section: str, key: str, path: str) -> Any:
    """What ``path`` names; ``ConfigurationError`` with the place of the setting, and with the name that was meant."""
    written = f"{place(section, key)} = {path!r}"
    name, _, attribute = path.partition(":")
    if not name or not attribute:
        raise ConfigurationError(f"{written}: 'module:name' is wanted, as in \"shop.{section}:{key}\"")
    try:
        module = import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"{written} cannot be imported: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        found = nearest(attribute, [known for known in vars(module) if not known.startswith("_")])
        hint = f"; did you mean {name}:{found}?" if found else ""
        raise ConfigurationError(f"{written} cannot be imported: {error}{hint}") from error


def place(section: str, key: str) -> str:
    """Where the setting was written; a file says so by its line, anything else by its name."""
    origin = runtime.settings().origins.get(f"{section}.{key}")
    if origin is None:
        return f"[{section}] {key}"
    return str(origin) if origin.line is None else f"{origin}: [{section}] {key}"
