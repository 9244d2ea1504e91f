"""The adapters that are installed: what the entry points of the group ``tenantjobs.adapters`` name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from tenantjobs.config.mistakes import meant
from tenantjobs.errors import ConfigurationError

GROUP = "tenantjobs.adapters"


@cache
def installed() -> dict[str, str]:
    """Name and ``module:class`` of every adapter in this environment. Nothing of them is imported."""
    import importlib.metadata  # noqa: PLC0415  # 20 ms that `import tenantjobs` should not pay

    return {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}


def entry_point(name: str) -> str:
    """``module:class`` of the adapter called ``name``; ConfigurationError with the nearest name if there is none."""
    try:
        return installed()[name]
    except KeyError:
        raise ConfigurationError(unknown_adapter(name)) from None


def adapter_class(name: str) -> Any:
    """The class of the adapter called ``name``; ConfigurationError says what to install if a library is missing."""
    module, _, attribute = entry_point(name).partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(_missing_library(name, error)) from error


def unknown_adapter(name: object) -> str:
    """What is wrong with the name of an adapter that is not installed."""
    return f"no adapter is called {name!r}{meant(str(name), installed())}"


def _missing_library(name: str, error: ModuleNotFoundError) -> str:
    import importlib.metadata  # noqa: PLC0415  # as above

    extras = importlib.metadata.metadata("tenantjobs").get_all("Provides-Extra") or []
    hint = f"pip install 'tenantjobs[{name}]'" if name in extras else "install what it needs"
    return f"the adapter {name!r} cannot be loaded: {error}; {hint}"
