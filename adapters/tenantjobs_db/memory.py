"""How much memory this process has."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec

STATM = "/proc/self/statm"  # Linux; elsewhere psutil knows


def is_measurable() -> bool:
    """Whether ``resident`` has an answer here."""
    return os.path.exists(STATM) or find_spec("psutil") is not None


def resident() -> int:
    """The memory of this process that is not swapped out, in bytes."""
    try:
        with open(STATM, "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return int(import_module("psutil").Process().memory_info().rss)
