"""The kinds of jobs: how often each comes, and what has to be there when all is done."""

from __future__ import annotations

import msgspec

PARTS = ("a", "b", "c")
STEPS = ("first 0", "first 1", "second 0", "second 1")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """``parts``: the effects of one order. ``share``: how often it comes, beside the others.

    ``jobs``: how many an order has. Where ``once`` is False, an effect may come again: the contract is at least once.
    """

    parts: tuple[str, ...] = ("",)
    share: int = 6
    jobs: int = 1
    once: bool = True


KINDS = {
    "plain": Kind(share=10, once=False),
    "transactional": Kind(share=12),
    "idempotent": Kind(),
    "async": Kind(share=10),
    "unique": Kind(),
    "limits_concurrency": Kind(),
    "limits_rate": Kind(),
    "retry_on": Kind(),
    "fails": Kind(parts=(), share=2),
    "steps": Kind(parts=STEPS),
    "scheduled": Kind(),
    "enqueues": Kind(parts=("parent", "child"), jobs=2),
    "batch": Kind(parts=(*PARTS, "called back"), share=2, jobs=4),
    "chain": Kind(parts=PARTS, share=2, jobs=3),
}

# In turn, so that every slice of orders has most of them.
TURN = [name for name, kind in KINDS.items() for _ in range(kind.share)]
JOBS_PER_ORDER = sum(kind.jobs * kind.share for kind in KINDS.values()) / len(TURN)


def kind_of(number: int) -> str:
    """The kind of the order with this number."""
    return TURN[number * 37 % len(TURN)]  # a step that meets all of them, and no two alike in a row
