"""Whose turn it is: the place of one claimer on its way round the tenants of each queue.

A turn is as many jobs as the tenant weighs. What is left of a turn that was cut short, and the part of a job that a
tenant of less weight has saved up, is its credit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tenantjobs_db.settlement import Claimed


class Candidate(NamedTuple):
    """A tenant that has work, and how many of its jobs may start now."""

    tenant: str
    weight: float
    room: int


class Turns:
    """Deficit round robin over the tenants; a tenant that has no work saves nothing."""

    def __init__(self) -> None:
        self._last_served: dict[str, str] = {}
        self._credits: dict[tuple[str, str], float] = {}

    def cursor(self, queue: str) -> str:
        """The next turn is that of the first tenant right of this one."""
        return self._last_served.get(queue, "")

    def shares(self, queue: str, candidates: Iterable[Candidate], wanted: int, *, all_round: bool) -> dict[str, int]:
        """Deal ``wanted`` jobs out to ``candidates``, who come in their order from the cursor on; and move on.

        ``all_round`` says that there are no others, so that the first comes again after the last; else it is one lap,
        after which some of ``wanted`` may be left.
        """
        shares: dict[str, int] = {}
        missing = wanted
        waiting = [candidate for candidate in candidates if candidate.room > 0]
        while missing and waiting:
            lap, waiting = waiting, []
            for candidate in lap:
                tenant, had = candidate.tenant, shares.get(candidate.tenant, 0)
                credit = self._credits.pop((queue, tenant), 0.0)
                if credit < 1:
                    credit += candidate.weight
                share = min(int(credit), candidate.room - had, missing)
                if share:
                    shares[tenant] = had + share
                    missing -= share
                if credit > share:
                    self._credits[queue, tenant] = credit - share
                if had + share < candidate.room:
                    waiting.append(candidate)
                if not missing and credit - share >= 1 and had + share < candidate.room:
                    break  # its turn goes on with the next claim
                self._last_served[queue] = tenant
                if not missing:
                    break
            if not all_round:
                break
        return shares

    def fell_short(self, queue: str, tenant: str) -> None:
        """The tenant had fewer jobs than its share."""
        self._credits.pop((queue, tenant), None)

    def advance(self, queue: str, claimed: Sequence[Claimed]) -> None:
        """Move on where tenants were dealt out equally, and those who got one more than the others go to the end."""
        cursor = self.cursor(queue)
        shares = Counter(claim.tenant for claim in claimed)
        most = max(shares.values())
        self._last_served[queue] = max(
            (tenant for tenant, share in shares.items() if share == most), key=lambda tenant: (tenant <= cursor, tenant)
        )
