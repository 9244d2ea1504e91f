"""Real brokers, and a worker in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pika
import pytest
import redis

from tests.tenantjobs_dramatiq.shop import RABBIT, REDIS

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
SEEN = {"send": ["send"], "delay": ["delay"], "retry": ["flaky", "flaky"], "pipeline": ["one", "two"]}


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
@pytest.mark.parametrize("way", SEEN)
def test_the_tenant_reaches_a_worker(broker: str, way: str) -> None:
    queue = f"shop-{uuid.uuid4().hex[:8]}"
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "SHOP_BROKER": broker, "SHOP_QUEUE": queue, "PYTHONPATH": path}
    command = [sys.executable, "-m", "dramatiq", "tests.tenantjobs_dramatiq.shop", "-p", "1", "-t", "2"]
    worker = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    store = redis.Redis.from_url(REDIS)
    send = [sys.executable, "-m", "tests.tenantjobs_dramatiq.send", way, str(len(SEEN[way]))]
    try:
        subprocess.run(send, cwd=ROOT, env=env, check=True, timeout=60)
        notes: list[str] = []
        while not notes or not notes[-1].startswith("end"):
            found = store.blpop([f"{queue}:notes"], timeout=20)
            assert found is not None, f"{notes}, and no more"
            notes.append(found[1].decode())  # type: ignore[index]
    finally:
        worker.terminate()
        worker.wait(20)
        for key in store.scan_iter(f"*{queue}*"):
            store.delete(key)
        store.close()
        if broker == "rabbitmq":
            _delete(queue)
    assert notes == [f"{label} acme" for label in [*SEEN[way], "end"]]


def _delete(queue: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(RABBIT)) as connection:
        channel = connection.channel()
        for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
            channel.queue_delete(name)
