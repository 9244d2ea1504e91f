"""One run: orders are placed and jobs performed while the adversary is at it; then all is calm, and it is counted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
from sqlalchemy import text

from tenantjobs_db.database import own
from tests.torture.adversary import Adversary
from tests.torture.audit import audit
from tests.torture.kinds import JOBS_PER_ORDER
from tests.torture.servers import Server
from tests.torture.site import PLANS, WORKERS, Site, wait_for

PRODUCERS = 2
PATIENCE_BETWEEN = (0.0, 10.0, 30.0)  # seconds that the adversary waits for jobs to end before it acts again
PATIENCE = 90.0  # seconds without a single end of a job, when nobody is in the way, after which jobs count as stuck


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``acts``: what was done, and how often. ``findings`` are those of the audit."""

    database: str
    version: str
    seed: int
    jobs: int
    tenants: int
    seconds: float
    rounds: int
    acts: dict[str, int]
    attempts: int
    repeated: int
    findings: dict[str, list[str]]
    left_out: str | None = None

    @property
    def passed(self) -> bool:
        return not any(self.findings.values())


def torture(
    server: Server,
    folder: Path,
    *,
    jobs: int,
    tenants: int = 100,
    seed: int,
    minutes: float = 60.0,
    lease: float = 5.0,
    pause: tuple[float, float] = (0.5, 2.5),
    left_out: str | None = None,
    say: Callable[[str], object] = lambda _line: None,
) -> Result:
    """Run it with at least ``jobs`` jobs; the adversary stops after ``minutes``, or once it has met them all."""
    began = time.monotonic()
    site = Site(server, folder, tenants=tenants, seed=seed, lease=lease)
    adversary = Adversary(site, random.Random(seed))
    try:
        site.prepare()
        for name in PLANS:
            site.supervise(name)
        orders = round(jobs / JOBS_PER_ORDER) + 1
        bounds = [1 + orders * place // PRODUCERS for place in range(PRODUCERS + 1)]
        for first, last in pairwise(bounds):
            site.produce(first, last)
        _torment(site, adversary, jobs, minutes=minutes, pause=pause, say=say)
        left = _calm(site, adversary, say)
        codes = site.stop()
        database = own(server.url)
        findings = audit(database)
        with database.begin() as connection:
            count, attempts = connection.execute(text("SELECT count(*), sum(fence) FROM tj_jobs")).one()
            version = connection.execute(text(VERSION[server.name])).scalar_one()
        database.close()
        if left:
            findings.stuck.insert(0, f"{left} jobs, of which none has ended in {PATIENCE:g} s")
        if any(codes):
            findings.stuck.append(f"supervisors ended with {codes} when nobody disturbed them")
    finally:
        adversary.let_go_on(all_of_them=True)
        site.close()
    return Result(
        database=server.name,
        version=str(version),
        seed=seed,
        jobs=int(count),
        tenants=tenants,
        seconds=round(time.monotonic() - began, 1),
        rounds=adversary.rounds,
        acts=dict(sorted(adversary.done.items())),
        attempts=int(attempts),
        repeated=findings.repeated,
        findings=findings.wrong,
        left_out=left_out,
    )


VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version", "mariadb": "SELECT version()"}


def _torment(
    site: Site,
    adversary: Adversary,
    jobs: int,
    *,
    minutes: float,
    pause: tuple[float, float],
    say: Callable[[str], object],
) -> None:
    """Until all jobs are done, and every act was played at least once.

    Between two acts a hundredth of the jobs come to an end, as a rule: where nothing can be done, nothing can go wrong.
    """
    chance = random.Random(site.seed + 1)
    wait_for(lambda: site.processes("worker"), 60)
    until = time.monotonic() + minutes * 60
    while time.monotonic() < until and (adversary.rounds < 1 or not site.is_placed or site.unfinished() != 0):
        enough, began = site.ended() + jobs // 100, time.monotonic()
        over, patience = began + chance.uniform(*pause), began + chance.choice(PATIENCE_BETWEEN)
        while time.monotonic() < over or (time.monotonic() < patience and site.ended() < enough):
            adversary.let_go_on()
            site.look_after()
            time.sleep(0.1)
        adversary.act()
        say(f"{site.unfinished()} jobs unfinished, {adversary.rounds} rounds")


def _calm(site: Site, adversary: Adversary, say: Callable[[str], object]) -> int:
    """Nobody is in the way any more, and nothing recurs. How many jobs do not come to their end all the same."""
    adversary.let_go_on(all_of_them=True)
    site.stop()
    site.is_calm = True
    for name in PLANS:
        site.supervise(name)
    wait_for(lambda: len(site.processes("worker")) >= WORKERS, 60)
    before, since = site.unfinished(), time.monotonic()
    while not site.is_placed or site.unfinished() != 0:
        site.look_after()
        left = site.unfinished()
        if left != before or not site.is_placed:
            before, since = left, time.monotonic()
            say(f"{left} jobs unfinished, calm")
        elif time.monotonic() - since > PATIENCE:
            return left or 0
        time.sleep(0.2)
    wait_for(lambda: site.leftovers() == 0, 2 * site.lease + 15)
    return 0
