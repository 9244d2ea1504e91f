"""Real brokers, and one real worker on each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenantjobs.carriage import Tenancy
from tests.services import BROKERS, REDIS, require
from tests.tenantjobs_celery.shop import Shop

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(broker: str, pool: str, log: Path) -> Iterator[Shop]:
    """A worker process with two slots; and its shop. Its messages, results and notes are gone afterwards."""
    with shopping(broker, pool) as shop, working(shop, log):
        yield shop


@contextmanager
def shopping(broker: str, pool: str, results: str = REDIS, tenancy: Tenancy = "required") -> Iterator[Shop]:
    """A shop without a worker. Skips the test where a server is down."""
    for service in {broker, "Redis"}:
        require(service)
    if pool == "gevent":
        pytest.importorskip("gevent")
    shop = Shop(f"tj{uuid.uuid4().hex[:10]}", BROKERS[broker], results, pool, tenancy)
    try:
        yield shop
    finally:
        _clean(shop)


@contextmanager
def working(shop: Shop, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of the shop with two slots, once it is ready."""
    command = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "--pool", shop.pool]
    command += ["--concurrency", "2", "--hostname", f"{shop.name}@%h", "--loglevel", "INFO"]
    with process(shop, log, *command) as started:
        if shop.store.blpop([f"{shop.name}:note:ready"], timeout=90) is None:
            pytest.fail(f"the worker has not started:\n{log.read_text()}")
        yield started


@contextmanager
def process(shop: Shop, log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """``celery -A`` with the app of the shop, in a process of its own, stopped afterwards."""
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "adapters"), *filter(None, sys.path)]))
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tests.tenantjobs_celery.worker", *command],
            cwd=ROOT,
            env={**os.environ, **shop.environment, "PYTHONPATH": paths},
            stdout=output,
            stderr=output,
        )
    try:
        yield started
    finally:
        started.terminate()  # a warm shutdown of a worker: it waits for what runs
        try:
            started.wait(timeout=15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _clean(shop: Shop) -> None:
    with shop.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(shop.name)
        for exchange in (f"{shop.name}.pidbox", f"reply.{shop.name}.pidbox"):
            connection.default_channel.exchange_delete(exchange)
    for key in shop.store.scan_iter(f"{shop.name}:*"):
        shop.store.delete(key)
    shop.close()
