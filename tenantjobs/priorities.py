"""Priorities where a broker knows ten of them."""

from __future__ import annotations

from bisect import bisect_right

# A job is in the class of the greatest of these that is not above its own number, so that the order is never turned
# round: only neighbours far from zero may share a class, in the order of their calls.
CLASSES = (-10, -1, 0, 1, 2, 3, 5, 10, 20, 50)
LAST = len(CLASSES) - 1


def place(priority: int) -> int:
    """The place of its class, 0 for the one that runs soonest."""
    return max(bisect_right(CLASSES, priority) - 1, 0)
