"""How far a process has claimed the lines of tenants, for when it is dear to look for where they begin.

As long as one transaction stays open anywhere - a report, a backup - PostgreSQL keeps all rows that were changed or
deleted since it began, and whoever looks for the head of a line passes what is left of all the jobs that were claimed
from it meanwhile. A claim that goes on where the last one has ended passes nothing; but it does not see the jobs that
have become ready behind that place, such as retries. So both take turns, and whole looks have a share of the time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tenantjobs_db.arrays import literal
from tenantjobs_db.rooms import ANY, Rooms
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.turns import Candidate, Turns

DEAR = 1000  # entries of the index that a whole look reads, and
DEAR_EACH = 10  # entries for each job that it finds; it is two where nothing is in the way
SPARED = 3  # times as long as a whole look took, none is taken
LOOKED_AROUND = 0.1  # seconds between two looks for tenants that are not known, at least
MOST_TENANTS = 1000
MOST_LEVELS = 8  # priorities of a tenant; each is a range of the index
LOWEST, HIGHEST = -(2**31), 2**31  # below and above which there are no priorities; nothing is at LOWEST with no id


class Marks:
    """Of one process, by queues."""

    def __init__(self, turns: Turns, now: Callable[[], float] = time.monotonic) -> None:
        self._turns = turns
        self._now = now
        self._queues: dict[str, _Marked] = {}

    def in_use(self, queue: str) -> bool:
        """Whether a claim is to go on from the marks, and not to look at the lines as a whole."""
        marked = self._queues.get(queue)
        return marked is not None and self._now() < marked.whole_due

    def looked(self, queue: str, read: int, seconds: float, found: Sequence[Claimed]) -> None:
        """A whole look has read so many entries, has taken so long, and has found these."""
        if read <= DEAR + DEAR_EACH * len(found):
            self._queues.pop(queue, None)
            return
        marked = self._queues.setdefault(queue, _Marked())
        marked.whole_due = self._now() + SPARED * seconds
        for tenant in {claim.tenant for claim in found}:
            marked.levels[tenant] = {}  # its line begins with what was found now
        marked.note(found)

    def shares(self, queue: str, wanted: int, rooms: Rooms) -> Mapping[str, int]:
        """How many jobs of which tenants are to be taken from their marks on."""
        marked = self._queues[queue]
        cursor = self._turns.cursor(queue)
        tenants = sorted(marked.levels, key=lambda tenant: (tenant <= cursor, tenant))
        candidates = [
            Candidate(tenant, 1.0, min(rooms.of(tenant), marked.rooms.get(tenant, ANY))) for tenant in tenants
        ]
        return self._turns.shares(queue, candidates, wanted, all_round=True)

    def claimed(self, queue: str, shares: Mapping[str, int], found: Sequence[Claimed]) -> bool:
        """These were found from the marks on. True if one of the tenants had all that was asked of it."""
        marked = self._queues[queue]
        marked.note(found)
        given = Counter([claim.tenant for claim in found])
        has_more = False
        for tenant, share in shares.items():
            if given[tenant] < share:
                # It may have as many again the next time, and others should not have to wait for its share until then.
                marked.rooms[tenant] = 2 * given[tenant] + 1
                self._turns.fell_short(queue, tenant, share - given[tenant])
            else:
                marked.rooms.pop(tenant, None)
                has_more = True
        return has_more

    def lines(self, queue: str, shares: Mapping[str, int]) -> dict[str, str]:
        """The parameters that say where to take them: of each tenant, ranges of the index in their order.

        Between the places up to which two priorities were claimed, all of a range is new: also a priority that is.
        """
        marked = self._queues[queue]
        first, last = [], []
        ranges: list[tuple[int, str, int]] = []
        for tenant in shares:
            first.append(len(ranges) + 1)
            at: tuple[int, str] = (LOWEST, "")
            for priority, id in sorted(marked.levels[tenant].items()):
                ranges.append((at[0], at[1], priority))
                at = (priority, id)
            ranges.append((at[0], at[1], HIGHEST))
            last.append(len(ranges))
        return {
            "tenants": literal(list(shares)),
            "shares": literal(list(shares.values())),
            "first": literal(first),
            "last": literal(last),
            "priorities": literal([priority for priority, _, _ in ranges]),
            "places": literal([id for _, id, _ in ranges]),
            "below": literal([below for _, _, below in ranges]),
        }

    def looks_around(self, queue: str) -> bool:
        """Whether tenants that are not known are to be looked for."""
        return self._now() >= self._queues[queue].around_due

    def gaps(self, queue: str) -> dict[str, str]:
        """The parameters that say where tenants are who are not known: between two of them, and after the last."""
        known = sorted(self._queues[queue].levels)
        after = ["", *known[:-1]] if known else []
        return {
            "after": literal(after),
            "behind": literal([LOWEST - 1, *[HIGHEST] * (len(known) - 1)] if known else []),
            "before": literal(known),
            "last": known[-1] if known else "",
        }

    def met(self, queue: str, tenants: Sequence[str], seconds: float) -> None:
        """A look around has taken so long, and has found these."""
        marked = self._queues[queue]
        pause = 0.0 if tenants else LOOKED_AROUND  # behind each that was found there may be more
        marked.around_due = self._now() + max(pause, SPARED * seconds)
        for tenant in tenants[: MOST_TENANTS - len(marked.levels)]:
            marked.levels.setdefault(tenant, {})


class _Marked(msgspec.Struct):
    """What is known of a queue."""

    whole_due: float = 0.0
    around_due: float = 0.0
    levels: dict[str, dict[int, str]] = {}  # the last id that was claimed, by tenants and priorities
    rooms: dict[str, int] = {}  # of tenants that had less than their share the last time

    def note(self, found: Sequence[Claimed]) -> None:
        for claim in found:  # in the order of their ids within each priority
            if len(self.levels) >= MOST_TENANTS and claim.tenant not in self.levels:
                continue
            levels = self.levels.setdefault(claim.tenant, {})
            if len(levels) >= MOST_LEVELS and claim.priority not in levels:
                levels.clear()
            levels[claim.priority] = claim.id
