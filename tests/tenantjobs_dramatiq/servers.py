"""Real brokers, and what is left on them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
import redis

from tenantjobs.carriage import Tenancy
from tests.services import AMQP, REDIS

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(
    name: str, kind: str, log: Path, *, gevent: bool = False, tenancy: Tenancy = "required"
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of Dramatiq with four threads, or greenlets, on the queue of this name; stopped afterwards."""
    command = [sys.executable, "-m", "dramatiq"]
    if gevent:
        pytest.importorskip("gevent")
        command = [sys.executable, str(Path(sys.executable).with_name("dramatiq-gevent"))]
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "adapters"), *filter(None, sys.path)]))
    given = {"SHOP_NAME": name, "SHOP_KIND": kind, "SHOP_TENANCY": tenancy, "dramatiq_worker_timeout": "100"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "tests.tenantjobs_dramatiq.worker", "-p", "1", "-t", "4"],
            cwd=ROOT,
            env={**os.environ, **given, "PYTHONPATH": paths},
            stdout=output,
            stderr=output,
        )
    try:
        with redis.Redis.from_url(REDIS, socket_timeout=60) as store:
            if store.blpop([f"{name}:note:ready"], timeout=30) is None:
                pytest.fail(f"the worker has not started:\n{log.read_text()}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def new_name() -> str:
    """A name that nobody else uses."""
    return f"tj{uuid.uuid4().hex[:10]}"


def remove(prefix: str, *queues: str) -> None:
    """The keys in Redis that begin so, and the queues in RabbitMQ, with those that Dramatiq keeps beside each."""
    with redis.Redis.from_url(REDIS) as store:
        for key in store.scan_iter(f"{prefix}*"):
            store.delete(key)
    with pika.BlockingConnection(pika.URLParameters(AMQP)) as connection:
        channel = connection.channel()
        for queue in queues:
            for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
                channel.queue_delete(name)
