"""What keeps a run from proving anything."""

from __future__ import annotations


class Broken(Exception):
    """The run cannot begin or go on; the message says why."""
