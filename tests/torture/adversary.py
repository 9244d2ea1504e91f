"""Who does it: kills, stops, disconnects, crashes, and moves clocks, in an order that the seed decides."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import psutil

from tests.torture.site import Site, send

Act = Callable[[], bool]


class Adversary:
    """Plays each of its acts once in a round, and no two rounds in the same order."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        self._stopped: list[tuple[float, psutil.Process]] = []
        self._deck: list[str] = []
        self.rounds = 0
        self.done: Counter[str] = Counter()
        self._acts: dict[str, Act] = {
            "worker killed": lambda: self._send(signal.SIGKILL, "worker"),
            "dispatcher or scheduler killed": lambda: self._send(signal.SIGKILL, "dispatcher", "scheduler"),
            "supervisor killed": self._kill_supervisor,
            "supervisor stopped and started": self._restart_supervisor,
            "producer killed": self._kill_producer,
            "worker stopped past its lease": self._stop_worker,
            "connections cut" if site.server.name != "sqlite" else "file locked": self._cut,
            "clocks of workers moved": self._move_clocks,
        }
        if site.server.crashes:
            self._acts["server crashed"] = self._crash

    def act(self) -> None:
        """The next act of the round; what does not find its victim is left for the next round."""
        if not self._deck:
            self._deck = list(self._acts)
            self._chance.shuffle(self._deck)
        name = self._deck.pop()
        self.done[name] += self._acts[name]()
        self.rounds += not self._deck

    def let_go_on(self, *, all_of_them: bool = False) -> None:
        """Continue processes that have been stopped for long enough."""
        now = time.monotonic()
        for until, process in list(self._stopped):
            if all_of_them or until <= now:
                send(process, signal.SIGCONT)
                self._stopped.remove((until, process))

    def _send(self, number: signal.Signals, *kinds: str) -> bool:
        found = self._site.processes(*kinds)
        return bool(found) and send(self._chance.choice(found), number)

    def _kill_supervisor(self) -> bool:
        name = self._chance.choice(list(self._site.supervisors))
        self._site.supervisors[name].kill()
        self._site.supervisors[name].wait()
        self._site.supervise(name)
        return True

    def _restart_supervisor(self) -> bool:
        """As a deploy does: the new one is there before the old one has gone."""
        name = self._chance.choice(list(self._site.supervisors))
        self._site.supervisors[name].terminate()
        self._site.supervise(name)
        return True

    def _kill_producer(self) -> bool:
        at_work = [producer for producer in self._site.producers.values() if producer.poll() is None]
        if at_work:
            self._chance.choice(at_work).kill()
        return bool(at_work)

    def _stop_worker(self) -> bool:
        found = self._site.processes("worker")
        if not found:
            return False
        process = self._chance.choice(found)
        self._stopped.append((time.monotonic() + self._site.lease + self._chance.uniform(0.5, 2), process))
        return send(process, signal.SIGSTOP)

    def _cut(self) -> bool:
        self._site.server.cut()
        return True

    def _crash(self) -> bool:
        self._site.server.crash()
        return True

    def _move_clocks(self) -> bool:
        moved = [send(process, signal.SIGUSR1) for process in self._site.processes("worker")]
        return any(moved)
