"""How many more jobs of a tenant this process may start, so that none holds all of its slots."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from tenantjobs_db.settlement import Claimed

ANY = 2**31 - 1
REMEMBERED_FOR = 600.0  # seconds that a second tenant is counted with after its last job


class Reserve:
    """Slots that a process keeps free for whoever comes next, as soon as it knows of more than one tenant.

    Nobody knows how long a job will run before it has ended: without a reserve, a tenant of long jobs has all slots for
    a while, and the others wait for one of them to end. A tenant that is alone has them all.
    """

    def __init__(self, slots: int, share: float, now: Callable[[], float] = time.monotonic) -> None:
        kept = max(1, math.ceil(share * slots)) if share > 0 else 0
        self.most = max(1, slots - kept)
        self._slots = slots
        self._keeps = self.most < slots
        self._now = now
        self._last: str | None = None
        self._last_at = self._met_at = -math.inf
        self.heard_of_several = False  # from other processes

    @property
    def in_force(self) -> bool:
        return self._keeps and (self.heard_of_several or self.met_several_within(REMEMBERED_FOR))

    def met_several_within(self, seconds: float) -> bool:
        """True if this process has claimed jobs of more than one tenant lately."""
        return self._now() - self._met_at < seconds

    def saw(self, tenants: Collection[str]) -> None:
        """Jobs of these tenants were claimed."""
        if not tenants:
            return
        now = self._now()
        if len(tenants) > 1 or (self._last not in tenants and now - self._last_at < REMEMBERED_FOR):
            self._met_at = now
        self._last, self._last_at = next(iter(tenants)), now

    def rooms(self, running: Collection[Claimed], wanted: int) -> Rooms:
        """The rooms of one exchange for ``wanted`` jobs, beside what is ``running``.

        Jobs that are claimed ahead of the slots are over in a moment, whose ever they are: they take no slot from
        anybody who comes next.
        """
        if not self.in_force:
            return Rooms()
        most = self.most + max(0, len(running) + wanted - self._slots)
        held = Counter(claim.tenant for claim in running)
        return Rooms(most, {tenant: max(0, most - count) for tenant, count in held.items()})


class Rooms:
    """What each tenant may still start in one exchange."""

    def __init__(self, most: int = ANY, rooms: Mapping[str, int] = MappingProxyType({})) -> None:
        self.most = most
        self.left = dict(rooms)  # of the tenants that may not start ``most``

    @property
    def full(self) -> list[str]:
        return [tenant for tenant, room in self.left.items() if room <= 0]

    def are_less_than(self, wanted: int) -> bool:
        """Whether some tenant may not have so many."""
        return self.most < wanted or any(room < wanted for room in self.left.values())

    def of(self, tenant: str) -> int:
        return self.left.get(tenant, self.most)

    def narrow(self, tenant: str, room: int) -> None:
        """No more than ``room``, whatever it was."""
        self.left[tenant] = max(0, min(self.of(tenant), room))

    def take(self, claims: Iterable[Claimed]) -> None:
        self._count(claims, -1)

    def give_back(self, claims: Iterable[Claimed]) -> None:
        """These were put aside after all."""
        self._count(claims, 1)

    def _count(self, claims: Iterable[Claimed], sign: int) -> None:
        if self.most == ANY and not self.left:
            return  # there is no end of room
        for tenant, count in Counter([claim.tenant for claim in claims]).items():
            if self.of(tenant) != ANY:
                self.left[tenant] = self.of(tenant) + sign * count
