"""Processes are killed while they fill batches, perform their jobs and conclude them, on our queue and on a broker.

Each job counts once, and each callback has its effect once.
"""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import pika
import pytest
from sqlalchemy import text

from tenantjobs import faults
from tests.crash.test_kills import Site, finish
from tests.crash.test_kills import site as site
from tests.crash.worker import exit_code, start_python
from tests.services import AMQP, require
from tests.tenantjobs_dramatiq import servers

pytestmark = [pytest.mark.slow, pytest.mark.spread, pytest.mark.timeout(240)]

JOBS = 9
FILL = "from tests.crash.app import *\nbatch_of({jobs}, {job})\n"
POINTS = ("before_effect", "after_effect", "before_commit", "after_commit", "before_batch", "before_conclusion")


def expected(jobs: int = JOBS) -> Counter[int]:
    return Counter([*range(jobs), -1, -2, -4])


def numbers(site: Site) -> Counter[int]:
    return Counter({number: count for (number, _), count in site.effects().items()})


def open_batches(site: Site) -> int:
    with site.engine.connect() as connection:
        query = text("SELECT count(*) FROM tj_batches WHERE finished_at IS NULL")
        return int(connection.execute(query).scalar_one())


def states(site: Site) -> set[str]:
    with site.engine.connect() as connection:
        return set(connection.execute(text("SELECT DISTINCT state FROM tj_batch_jobs")).scalars())


@pytest.mark.parametrize("job", ["effect", "transactional_effect"])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_of_our_queue_is_killed_and_each_batch_calls_back_once(site: Site, point: str, job: str) -> None:
    site.prepare(jobs=0)
    site.python(FILL.format(jobs=JOBS, job=job))
    # A transactional job tells its batch by its own commit: then it is the callbacks that pass there.
    passage = JOBS if job == "effect" else 1 if point in faults.BATCH_POINTS else 2
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:{passage}")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    finish(site)

    assert numbers(site) == expected()
    assert (open_batches(site), states(site)) == (0, {"done"})


@pytest.mark.parametrize("statement", ["INSERT INTO tj_batches", "INSERT INTO tj_batch_jobs", "INSERT INTO tj_jobs"])
def test_who_fills_a_batch_is_killed_and_nothing_is_left(site: Site, statement: str) -> None:
    site.prepare(jobs=0)
    dies = (
        "import os, signal\nfrom sqlalchemy import event\nfrom tests.crash.app import engine\n"
        "def die(_connection, _cursor, statement, *_):\n"
        f"    if {statement + ' '!r} in statement: os.kill(os.getpid(), signal.SIGKILL)\n"
        "event.listen(engine, 'after_cursor_execute', die)\n"
    )

    assert exit_code(start_python(site.environment, dies + FILL.format(jobs=JOBS, job="effect"))) == -signal.SIGKILL

    with site.engine.connect() as connection:
        tables = ("orders", "tj_jobs", "tj_batches", "tj_batch_jobs")
        assert [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables] == [0] * 4


def test_kills_at_random_moments_of_many_workers_of_our_queue(site: Site) -> None:
    jobs = 90
    site.prepare(jobs=0)
    site.python(FILL.format(jobs=jobs, job="effect"))
    _kill_at_random(site, lambda: numbers(site)[-2] > 0, kills=12)
    finish(site)

    assert numbers(site) == expected(jobs)
    assert (open_batches(site), states(site)) == (0, {"done"})


class Broker(Site):
    """Workers of Dramatiq on RabbitMQ, with the ledger in the application's database."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.name = f"tj{uuid.uuid4().hex[:10]}"
        self.environment |= {
            "CONTRACT_BROKER": AMQP,
            "CONTRACT_NAME": self.name,
            "TENANTJOBS_ADAPTER": "dramatiq",
            "TENANTJOBS_DRAMATIQ_BROKER": "tests.tenantjobs_dramatiq.contract_broker:broker",
            "TENANTJOBS_DRAMATIQ_PREFIX": f"{self.name}.",
        }

    @property
    def queue(self) -> str:
        return f"{self.name}.default"

    def waiting(self) -> int:
        """Messages in the queue that no worker has."""
        with pika.BlockingConnection(pika.URLParameters(AMQP)) as connection:
            counted: int = connection.channel().queue_declare(self.queue, passive=True).method.message_count
            return counted

    def finish(self) -> None:
        """Let another worker do what is left, to the last message."""
        survivor = self.worker("--threads", "2", "-q", "default")
        try:
            until = time.monotonic() + 60
            while numbers(self)[-2] == 0 or open_batches(self) or states(self) != {"done"} or self.waiting():
                assert time.monotonic() < until, (numbers(self), open_batches(self), states(self), self.waiting())
                time.sleep(0.1)
        finally:
            survivor.terminate()
        assert exit_code(survivor) == 0
        assert self.waiting() == 0


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    require("RabbitMQ")
    site = Broker(url)
    yield site
    site.engine.dispose()
    servers.remove(site.name, site.queue)


@pytest.mark.services
@pytest.mark.parametrize(
    ("point", "job"),
    [
        ("after_effect", "effect"),
        ("after_commit", "transactional_effect"),
        *((point, "effect") for point in faults.BATCH_POINTS),
    ],
)
def test_a_worker_of_a_broker_is_killed_and_each_batch_calls_back_once(broker: Broker, point: str, job: str) -> None:
    broker.prepare(jobs=0)
    broker.python(FILL.format(jobs=JOBS, job=job))
    passage = 1 if point == "after_callback" else JOBS - 2
    killed = broker.worker("--threads", "1", "-q", "default", TENANTJOBS_FAULT=f"{point}:{passage}")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    broker.finish()

    assert numbers(broker) == expected()


@pytest.mark.services
def test_kills_at_random_moments_of_many_workers_of_a_broker(broker: Broker) -> None:
    jobs = 60
    broker.prepare(jobs=0)
    broker.python(FILL.format(jobs=jobs, job="effect"))
    _kill_at_random(broker, lambda: numbers(broker)[-2] > 0, "-q", "default", kills=8)
    broker.finish()

    assert numbers(broker) == expected(jobs)


@pytest.mark.services
def test_a_batch_that_fails_says_so_once_on_a_broker_too(broker: Broker) -> None:
    broker.prepare(jobs=0)
    broker.python(
        "from tests.crash.app import *\n"
        "with Current.set(tenant_id='acme'), batch(on_failure=called_back.call(-3), on_finish=called_back.call(-2)):\n"
        "    failing.perform_later(); failing.perform_later(); effect.perform_later(1)\n"
    )
    killed = broker.worker("--threads", "1", "-q", "default", TENANTJOBS_FAULT="before_conclusion:1")
    assert exit_code(killed) == -signal.SIGKILL
    survivor = broker.worker("--threads", "2", "-q", "default")
    try:
        until = time.monotonic() + 30
        while open_batches(broker) or numbers(broker)[-2] == 0 or broker.waiting():
            assert time.monotonic() < until, (numbers(broker), states(broker))
            time.sleep(0.1)
    finally:
        survivor.terminate()
    assert exit_code(survivor) == 0

    assert numbers(broker) == Counter([1, -2, -3])


def _kill_at_random(site: Site, done: Callable[[], bool], *options: str, kills: int) -> None:
    moment = random.Random(11)
    workers = [site.worker("--threads", "2", *options) for _ in range(2)]
    try:
        for _ in range(kills):
            time.sleep(moment.uniform(0.1, 0.6))
            if done():
                break
            victim = workers.pop(0)
            victim.kill()
            victim.join()
            workers.append(site.worker("--threads", "2", *options))
    finally:
        for worker in workers:
            worker.kill()
            worker.join(15)
