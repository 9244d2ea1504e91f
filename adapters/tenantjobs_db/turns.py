"""Whose turn it is: the place of one claimer on its way round the tenants of each queue.

A turn is as many jobs as the tenant weighs. What is left of a turn that was cut short, and the part of a job that a
tenant of less weight has saved up, is its credit. Where the jobs of tenants differ in what they cost, a dear one is
taken on credit as well: its tenant pays with the turns that come next, and lets the others go first.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tenantjobs_db.costs import Costs
from tenantjobs_db.settlement import Claimed

MOST_CREDITS = 10_000  # tenants; with more of them, all start anew


class Candidate(NamedTuple):
    """A tenant that has work, and how many of its jobs may start now."""

    tenant: str
    weight: float
    room: int


class Credit(NamedTuple):
    """In jobs of the cheapest tenant; less than nothing is a debt."""

    amount: float
    lap: int


class Turns:
    """Deficit round robin over the tenants; a tenant that has no work saves nothing, and its debts pass."""

    def __init__(self, costs: Costs | None = None) -> None:
        self._costs = costs or Costs()
        self._last_served: dict[str, str] = {}
        self._laps: defaultdict[str, int] = defaultdict(int)
        self._credits: dict[tuple[str, str], Credit] = {}

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
            dealt = 0
            for candidate in lap:
                tenant, had = candidate.tenant, shares.get(candidate.tenant, 0)
                credit, price = self._at_turn(queue, candidate), self._costs.price(queue, tenant)
                share = min(_affordable(credit, price), candidate.room - had, missing)
                if share:
                    shares[tenant] = had + share
                    missing -= share
                    dealt += share
                credit -= share * price
                self._keep(queue, tenant, credit)
                if had + share < candidate.room:
                    waiting.append(candidate)
                if not missing and credit >= 1 and had + share < candidate.room:
                    break  # its turn goes on with the next claim
                self._move_on(queue, tenant)
                if not missing:
                    break
            if not all_round:
                break
            if dealt == len(lap) == len(waiting) and not self._credits and all(each.weight == 1 for each in waiting):
                waiting, missing = self._laps_alike(queue, waiting, missing, shares)
            if not dealt:
                self._laps[queue] += self._laps_in_vain(queue, waiting)
        return shares

    def fell_short(self, queue: str, tenant: str, missed: int) -> None:
        """The tenant had fewer jobs than its share: it owes for those that it had, and saves nothing."""
        credit = self._credits.pop((queue, tenant), None)
        if credit is not None:
            self._keep(queue, tenant, min(0.0, credit.amount + missed * self._costs.price(queue, tenant)))

    def advance(self, queue: str, claimed: Sequence[Claimed]) -> None:
        """Move on where tenants were dealt out equally, and those who got one more than the others go to the end."""
        if len(claimed) == 1:
            self._laps[queue] += 1
            self._last_served[queue] = claimed[0].tenant
            return
        cursor = self.cursor(queue)
        shares = Counter(claim.tenant for claim in claimed)
        most = max(shares.values())
        self._laps[queue] += most
        self._last_served[queue] = max(
            (tenant for tenant, share in shares.items() if share == most), key=lambda tenant: (tenant <= cursor, tenant)
        )

    def _at_turn(self, queue: str, candidate: Candidate) -> float:
        """What the tenant has to spend now: its weight, and what was left, or is owed."""
        amount, lap = self._credits.pop((queue, candidate.tenant), Credit(0.0, self._laps[queue]))
        if amount >= 1:
            return amount
        # Turns that it was not there for pay its debts too, and save it nothing.
        earned = max(1, self._laps[queue] - lap) * candidate.weight
        return min(amount + earned, max(amount, 0.0) + max(candidate.weight, 1.0))

    def _keep(self, queue: str, tenant: str, amount: float) -> None:
        if amount:
            self._credits[queue, tenant] = Credit(amount, self._laps[queue])

    def _move_on(self, queue: str, tenant: str) -> None:
        if tenant <= self.cursor(queue):
            self._laps[queue] += 1
            if len(self._credits) > MOST_CREDITS:
                self._credits.clear()
        self._last_served[queue] = tenant

    def _laps_alike(
        self, queue: str, waiting: Sequence[Candidate], missing: int, shares: dict[str, int]
    ) -> tuple[list[Candidate], int]:
        """Each has had one job, as it will in each lap until one is full; less than a lap is left to be dealt out.

        One by one, it took a tenth of the time of a drain on SQLite.
        """
        laps = min(missing // len(waiting), min(each.room - shares[each.tenant] for each in waiting))
        for candidate in waiting:
            shares[candidate.tenant] += laps
        self._laps[queue] += laps
        return [each for each in waiting if shares[each.tenant] < each.room], missing - laps * len(waiting)

    def _laps_in_vain(self, queue: str, waiting: Sequence[Candidate]) -> int:
        """How many more laps nobody could afford anything in."""
        nothing = Credit(0.0, 0)
        return min(
            math.ceil((1 - self._credits.get((queue, candidate.tenant), nothing).amount) / candidate.weight) - 1
            for candidate in waiting
        )


def _affordable(credit: float, price: float) -> int:
    """As many jobs as can be begun with one's own; the last may be on credit."""
    return int((credit - 1) / price) + 1 if credit >= 1 else 0
