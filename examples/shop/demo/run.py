"""One run: starts everything, feeds the stream, kills workers at work, waits until nothing is left to do."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

from examples.shop.demo import stream
from examples.shop.demo.database import Database
from examples.shop.demo.evidence import Evidence, gather
from examples.shop.demo.faults import VARIABLE, lose_a_job
from examples.shop.demo.feed import Feed
from examples.shop.demo.killing import Killing
from examples.shop.demo.processes import ROOT, Crew
from examples.shop.demo.progress import View
from examples.shop.demo.proofs import OPEN
from examples.shop.demo.stream import Request
from tenantjobs_db.tables import jobs

WORKERS = ("worker-1", "worker-2")
THREADS = "8"
LEASE = "2"  # seconds, after which the jobs of a killed worker are taken over
MAX_DEATHS = "100"  # the workers are killed by us, and a slow delivery may be in their hands each time
OPENING_HOURS = 42.0  # seconds; on a machine too slow for the whole stream the customers go home before its end
PATIENCE = 120.0  # seconds; what is not done by then counts as lost
TICK = 0.2


class Run:
    """From an empty database to the evidence."""

    def __init__(
        self, *, folder: Path, database: Database, requests: Sequence[Request], fault: str | None, view: View
    ) -> None:
        self._folder = folder
        self._database = database
        self._requests = requests
        self._expected = stream.deliveries(requests)
        self._fault = fault
        self._view = view
        self._engine = database.engine()
        self._arrivals = folder / "arrivals.jsonl"
        self._arrivals.touch()

    def perform(self) -> Evidence:
        """Prepare, run, and ask the witnesses once all processes have ended."""
        try:
            self._database.create_tables(self._engine)
            with Crew(self._folder, self._environment()) as crew:
                servers = crew.serve("receiver", "examples.shop.demo.receiver", str(self._arrivals))
                shop = crew.serve("web", "examples.shop.demo.serve", "examples.shop.web:app")
                workers = [crew.run(name, "tenantjobs.cli", "work", "--threads", THREADS) for name in WORKERS]
                with Feed(shop, servers) as feed:
                    feed.start(self._requests)
                    self._follow(feed, crew, Killing(self._engine, workers, self._expected))
                    answers = feed.answers()
            return gather(self._engine, answers, self._arrivals)
        finally:
            self._engine.dispose()

    def _environment(self) -> dict[str, str]:
        """What the processes are told. No setting of tenantjobs comes from whoever has started the demo."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENANTJOBS_")}
        told = {
            "SHOP_DATABASE_URL": self._database.shop.render_as_string(hide_password=False),
            "TENANTJOBS_CONFIG": str(ROOT / "examples" / "shop" / "tenantjobs.toml"),
            "TENANTJOBS_DB_LEASE": LEASE,
            "TENANTJOBS_DB_MAX_DEATHS": MAX_DEATHS,
        }
        if self._fault is not None:
            told |= {"TENANTJOBS_APP": "examples.shop.demo.faulty_worker", VARIABLE: self._fault}
        return inherited | told

    def _follow(self, feed: Feed, crew: Crew, killing: Killing) -> None:
        """Watch until all is done, and make trouble on the way."""
        begun, losing = time.monotonic(), self._fault == "loss"
        while (elapsed := time.monotonic() - begun) < PATIENCE:
            crew.require_alive()
            settled, left = self._progress()
            self._view.moved(answered=feed.answered, settled=settled, expected=self._expected)
            if feed.is_done and not left:
                return
            if killed := killing.strike(settled):
                self._view.said(killed)
            if losing and lose_a_job(self._engine):
                losing = False
                self._view.said("a job was taken out of the queue: the planted loss")
            if elapsed > OPENING_HOURS and (kept := feed.close()):
                self._view.said(f"this machine is slow: {kept:,} requests are not sent")
            time.sleep(TICK)
        self._view.said(f"not done after {PATIENCE:.0f} s")

    def _progress(self) -> tuple[int, int]:
        """How many jobs have come to an end, and how many have not."""
        counted = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self._engine.connect() as connection:
            counts: dict[str, int] = dict(connection.execute(counted).tuples().all())
        left = sum(counts.get(state, 0) for state in OPEN)
        return sum(counts.values()) - left, left
