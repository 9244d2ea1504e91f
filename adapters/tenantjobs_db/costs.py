"""What a job of each tenant costs, in seconds of a slot, as one process has seen it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tenantjobs_db.settlement import GiveBack, Settlement

SHORT = 0.005  # seconds; whatever takes less costs as much as what brings it here and takes it away
ALIKE = 2.0  # times; what differs by less is noise, and a turn is a job
LATEST = 0.1  # of an estimate is the latest job
MOST = 10_000.0  # times as dear as the cheapest
REMEMBERED_FOR = 60.0  # seconds after a tenant's last job has ended
LOOKED_AT = 0.1  # seconds between two looks at whether costs differ


class _Seen(msgspec.Struct):
    at: float
    mean: float = SHORT


class Costs:
    """Learns from jobs that have ended, and says how many jobs of the cheapest tenant one of another is worth.

    An estimate is an exponential mean, so that all seconds of a job are charged sooner or later: a share of them with
    each of the tenant's next jobs. It begins with a short job, and not with the first one that is seen: whatever holds
    up a process for a moment, as its first imports do, would make whoever ran then the dearest tenant of all.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: defaultdict[str, dict[str, _Seen]] = defaultdict(dict)
        self._cheapest: dict[str, float] = {}  # of each queue whose tenants' jobs differ
        self._looked = 0.0

    def learn(self, settlements: Sequence[Settlement], seconds: Sequence[float]) -> None:
        """These have ended, after so many seconds each."""
        if not self._seen and max(seconds, default=0.0) < ALIKE * SHORT:
            return  # nothing that would be weighed
        self.learn_of(
            (settlement.claim.queue, settlement.claim.tenant, taken)
            for settlement, taken in zip(settlements, seconds, strict=True)
            if not isinstance(settlement, GiveBack)
        )

    def learn_of(self, ended: Iterable[tuple[str, str, float]]) -> None:
        """The queue and the tenant of each job that has ended, and the seconds that it took."""
        now = self._now()
        for queue, tenant, taken in ended:
            self._take_in(self._seen[queue], tenant, max(taken, SHORT), now)
        if now - self._looked >= LOOKED_AT:
            self._looked = now
            self._look(now)

    def differ(self, queue: str) -> bool:
        """True if turns of ``queue`` have to be weighed."""
        return queue in self._cheapest

    def price(self, queue: str, tenant: str) -> float:
        """Of a job; 1 for the cheapest, for one that nobody knows, and for all where they are alike."""
        cheapest = self._cheapest.get(queue)
        seen = None if cheapest is None else self._seen[queue].get(tenant)
        if cheapest is None or seen is None:
            return 1.0
        times = seen.mean / cheapest
        return 1.0 if times < ALIKE else min(times, MOST)

    def _take_in(self, tenants: dict[str, _Seen], tenant: str, taken: float, now: float) -> None:
        seen = tenants.get(tenant)
        if seen is None:
            seen = tenants[tenant] = _Seen(now)
        seen.mean += (taken - seen.mean) * LATEST
        seen.at = now

    def _look(self, now: float) -> None:
        self._cheapest.clear()
        for queue, tenants in list(self._seen.items()):
            for tenant in [tenant for tenant, seen in tenants.items() if now - seen.at > REMEMBERED_FOR]:
                del tenants[tenant]
            if not tenants:
                del self._seen[queue]
                continue
            cheapest = min(seen.mean for seen in tenants.values())
            if max(seen.mean for seen in tenants.values()) > ALIKE * cheapest:
                self._cheapest[queue] = cheapest
