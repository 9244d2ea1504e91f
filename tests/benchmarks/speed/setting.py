"""How one side runs, as its processes are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Setting:
    side: str  # the module below ``sides``
    url: str = ""
    starts: str = ""  # the file of the memory that jobs write to
    worker: int = 0
    at_once: int = 1  # jobs at once in one worker process
    coroutines: bool = False  # jobs are coroutines, not functions
    seconds: float = 0.0  # how long a job waits, as one that does I/O
    tenants: int = 10
    synchronous: str = "FULL"  # of SQLite
