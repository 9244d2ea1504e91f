"""What a gate costs: ``python -m tests.benchmarks.gate [DEPTH]``, the same workers with one before them and without.

Jobs of ten tenants that do nothing, by ``tenantjobs work`` with two threads. The gate is a process beside the workers
of the broker, and each job is two transactions more on PostgreSQL, with durable commits: let through, and settled.
Rates are those from a tenth of the jobs to the last; processor time is that of all processes, from their start.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenantjobs import Current, perform_all_later, runtime
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tests.benchmarks.gated import nothing
from tests.services import fresh_postgres
from tests.swap.site import Site

QUEUES = (("celery", "RabbitMQ"), ("dramatiq", "RabbitMQ"), ("rq", "Redis"))
JOBS = 1_000
TENANTS = 10
DEPTH = 16
LOOK = 0.1  # seconds


def main(words: list[str]) -> None:
    if words == ["enqueue"]:
        enqueue()
        return
    depth = int(words[0]) if words else DEPTH
    print(f"{JOBS:,} jobs, depth {depth}\n\n{'':24} {'jobs/s':>8} {'CPU ms/job':>11}")
    for adapter, broker in QUEUES:
        for gated in (False, True):
            rate, cpu = measure(adapter, broker, depth if gated else None)
            print(f"{adapter + (' behind a gate' if gated else ''):24} {rate:>8,.0f} {cpu * 1000:>11.1f}", flush=True)


def enqueue() -> None:
    runtime.load_app()
    for tenant in range(TENANTS):
        with Current.set(tenant_id=f"tenant-{tenant}"):
            perform_all_later([nothing.call(number) for number in range(JOBS // TENANTS)])


def measure(adapter: str, broker: str, depth: int | None) -> tuple[float, float]:
    """Jobs in a second, and seconds of processors for one; without a gate where there is no ``depth``."""
    kept_in = adapter if depth is None else "db"
    with _site(broker) as site:
        site.configure(app="tests.benchmarks.gated", adapter=kept_in)
        if depth is not None:
            site.configure(gate_adapter=adapter, gate_depth=str(depth))
        site.run("tests.benchmarks.gate", "enqueue")
        before = _processor_time()
        with site.working():
            _until_left(site, kept_in, JOBS * 9 // 10)
            began, left = time.perf_counter(), site.left(kept_in)
            _until_left(site, kept_in, 0)
            rate = left / (time.perf_counter() - began)
        return rate, (_processor_time() - before) / JOBS


@contextmanager
def _site(broker: str) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder, fresh_postgres(durable=True) as url:
        database = own(url)
        schema.upgrade(database.engine)
        database.close()
        site = Site(Path(folder), url, broker)
        try:
            yield site
        finally:
            site.clean()


def _until_left(site: Site, kept_in: str, number: int) -> None:
    while site.left(kept_in) > number:
        time.sleep(LOOK)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1:])
