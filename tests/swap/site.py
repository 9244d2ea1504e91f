"""Every queue that there is, under names of this test alone, chosen by environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import redis
from celery import Celery

from tenantjobs.testing.contract import effects
from tenantjobs.testing.contract.effects import Effect
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tenantjobs_db.queue import Queue
from tests.services import BROKERS, REDIS, fresh_postgres, require
from tests.tenantjobs_dramatiq import servers as dramatiq
from tests.tenantjobs_rq import servers as rq

PATIENCE = 90.0  # seconds
PATH = os.pathsep.join(filter(None, sys.path))


class Site:
    """One project, its queues and its processes."""

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        self.folder = folder
        self.database = database
        self.broker = broker
        self.name = f"tj{uuid.uuid4().hex[:10]}"
        self.queue = f"{self.name}-jobs"
        self.environment = {
            effects.FOLDER: str(folder),
            "SWAP_QUEUE": self.queue,
            "CONTRACT_BROKER": BROKERS[broker],
            "CONTRACT_NAME": self.name,
            "PYTHONPATH": PATH,
            "TENANTJOBS_APP": "tests.swap.app",
            "TENANTJOBS_DB_URL": database,
            "TENANTJOBS_CELERY_APP": "tests.tenantjobs_celery.contract_app:app",
            "TENANTJOBS_DRAMATIQ_BROKER": "tests.tenantjobs_dramatiq.contract_broker:broker",
            "TENANTJOBS_DRAMATIQ_PREFIX": f"{self.name}.",
            "TENANTJOBS_RQ_URL": REDIS,
            "TENANTJOBS_RQ_PREFIX": f"{self.name}.",
        }

    def configure(self, **settings: str) -> None:
        """From now on: ``adapter="db", drain_adapter="rq"``."""
        self.environment.update({f"TENANTJOBS_{key.upper()}": value for key, value in settings.items()})

    def run(self, *command: str) -> str:
        """``python -m`` something, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def working(self) -> Iterator[subprocess.Popen[bytes]]:
        """``tenantjobs work``, stopped as whoever deploys stops it."""
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tenantjobs.cli", "work", "-q", self.queue, "--threads", "2"],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        try:
            yield worker
            worker.terminate()
            code = worker.wait(PATIENCE)
            assert code == 0, f"exit code {code}\n{self.log()}"
        finally:
            if worker.poll() is None:
                worker.terminate()
                worker.wait()

    def effects(self) -> list[Effect]:
        """What jobs have done so far."""
        return effects.recorded(self.folder)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that workers bring about."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {PATIENCE:g} s; effects: {self.effects()}\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")[-6000:]

    def left(self, adapter: str) -> int:
        """How many jobs are in the queue, waiting, delayed or taken. No worker is there."""
        if adapter == "db":
            database = own(self.database)
            counts = Queue(database).counts()
            database.close()
            return sum(number for state, number in counts.items() if state not in ("finished", "discarded"))
        if adapter == "rq":
            prefix = f"{self.name}.{self.queue}"
            with redis.Redis.from_url(REDIS) as store:
                return int(store.llen(f"rq:queue:{prefix}")) + sum(
                    int(store.zcard(f"rq:{registry}:{prefix}")) for registry in ("scheduled", "wip", "failed")
                )
        queue = self.queue if adapter == "celery" else f"{self.name}.{self.queue}"
        if self.broker == "Redis":
            # Lists and hashes are gone when they are empty.
            with redis.Redis.from_url(REDIS) as store:
                keys = {key.decode().removeprefix(f"{self.name}:") for key in store.scan_iter(f"{self.name}:*")}
            return sum(key == "unacked" or key.startswith(queue) for key in keys)
        with self._broker().connection_for_write() as connection:
            names = [queue] if adapter == "celery" else [queue, f"{queue}.DQ", f"{queue}.XQ"]
            channel = connection.default_channel
            return sum(int(channel.queue_declare(name, passive=True).message_count) for name in names)

    def clean(self) -> None:
        if self.broker == "RabbitMQ":
            with self._broker().connection_for_write() as connection:
                connection.default_channel.queue_delete(self.queue)
        dramatiq.remove(self.name, f"{self.name}.{self.queue}", f"{self.name}.default")
        rq.remove(f"{self.name}.")

    def _broker(self) -> Celery:
        return Celery(self.name, broker=BROKERS[self.broker], set_as_current=False)


@contextmanager
def site(folder: Path, database: str, broker: str) -> Iterator[Site]:
    """A site with its tables made; nothing of it is left afterwards."""
    require("Redis")
    require(broker)
    with nullcontext(f"sqlite:///{folder / 'queue.db'}") if database == "sqlite" else fresh_postgres() as url:
        made = Site(folder, url, broker)
        tables = own(url)
        schema.upgrade(tables.engine)
        tables.close()
        try:
            yield made
        finally:
            made.clean()
