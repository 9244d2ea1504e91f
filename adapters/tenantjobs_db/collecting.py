"""How often the interpreter looks for cycles in a worker's own process, which is a setting of the interpreter."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = (700, 2000)  # new objects between two looks, as the versions of Python have it
SELDOM = 10_000


@contextmanager
def seldom(*, allowed: bool) -> Iterator[None]:
    """A block in which it looks less often, and never through what was there before: the application and its libraries.

    A worker holds some hundred jobs with all that belongs to them, so that each look finds much that is to stay, and
    was a twentieth of what a short job costs the process. What is there before does not become less, and a forked
    process that leaves it alone shares its memory. A process that has other work to do is left as it is
    (``allowed``), and so is one that has settings of its own.
    """
    usual = gc.get_threshold()
    if not allowed or usual[0] not in USUAL or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(SELDOM, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
