"""What brings YAML and cron along, imported by the commands that want it: ``--help`` imports every command."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def recurring(module: str = "") -> Any:
    """``tenantjobs.recurring``, or a module of it."""
    return import_module(f"tenantjobs.recurring{module and '.'}{module}")
