"""The one global of tenantjobs: the settings of this process, resolved when they are first needed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module

from tenantjobs import config
from tenantjobs.config import Settings, override
from tenantjobs.errors import ConfigurationError

__all__ = ["load_app", "on_change", "override", "settings"]

_lock = threading.RLock()
_settings: Settings | None = None


def settings() -> Settings:
    """The resolved settings; every ``configure()`` and ``override()`` makes them be resolved anew."""
    global _settings
    found = _settings
    if found is None:
        with _lock:
            found = _settings = _settings or config.load()
    return found


def on_change(callback: Callable[[frozenset[str]], object]) -> None:
    """Call ``callback`` after every change, with the names that it set; ``settings()`` gives the new values."""
    config.on_change(callback)


def load_app() -> Settings:
    """Import the module that ``app`` names, once, and give the settings as they are after it.

    The module may call ``configure()``, so that nothing should be built from the settings before this. What the module
    raises is raised; ``ConfigurationError`` if there is no such module.
    """
    before = settings()
    _reach(before)
    if before.app is not None:
        try:
            import_module(before.app)
        except ModuleNotFoundError as error:
            # A module that is there and imports something that is not raises the same error, with another name.
            if error.name is None or not f"{before.app}.".startswith(f"{error.name}."):
                raise
            raise ConfigurationError(
                f"{before.origins['app']}: app = {before.app!r} cannot be imported: there is no module {error.name!r}; "
                f"put its folder on PYTHONPATH, or run from there"
            ) from error
    return settings()


def _reach(found: Settings) -> None:
    """Let a configuration file name the modules beside it, from whichever folder a command is run."""
    folder = None if found.file is None else os.path.dirname(found.file)
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)


def _forget(_changed: frozenset[str]) -> None:
    global _settings
    with _lock:
        _settings = None


config.on_change(_forget)
