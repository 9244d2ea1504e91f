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

from tests.services import BROKERS, REDIS
from tests.tenantjobs_celery.shop import Shop

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(broker: str, pool: str, log: Path) -> Iterator[Shop]:
    """A worker process with two slots; and its shop. Its messages, results and notes are gone afterwards."""
    name = f"tj{uuid.uuid4().hex[:10]}"
    environment = {"SHOP_NAME": name, "SHOP_BROKER": BROKERS[broker], "SHOP_RESULTS": REDIS, "SHOP_POOL": pool}
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "adapters"), *filter(None, sys.path)]))
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", "tests.tenantjobs_celery.worker", "worker", *alone]
    command += ["--pool", pool, "--concurrency", "2", "--hostname", f"{name}@%h", "--loglevel", "INFO"]
    shop = Shop(name, BROKERS[broker], REDIS, pool)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment, "PYTHONPATH": paths}, stdout=output, stderr=output
        )
    try:
        if shop.store.blpop([f"{name}:note:ready"], timeout=90) is None:
            pytest.fail(f"the worker has not started:\n{log.read_text()}")
        yield shop
    finally:
        process.terminate()  # a warm shutdown: it waits for what runs
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _clean(shop)


def _clean(shop: Shop) -> None:
    with shop.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(shop.name)
        for exchange in (f"{shop.name}.pidbox", f"reply.{shop.name}.pidbox"):
            connection.default_channel.exchange_delete(exchange)
    for key in shop.store.scan_iter(f"{shop.name}:*"):
        shop.store.delete(key)
    shop.close()
