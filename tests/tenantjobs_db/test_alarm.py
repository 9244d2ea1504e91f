from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from tenantjobs import job
from tenantjobs.adapter import WorkOptions
from tenantjobs.view import JobFilter
from tenantjobs_db import listening
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.alarm import Alarm
from tenantjobs_db.alarms import alarm_of, unheard
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database, own
from tenantjobs_db.intervening import Intervening
from tenantjobs_db.listening import Line, Listening, Unheard
from tenantjobs_db.queue import Queue
from tenantjobs_db.settlement import GiveBack, Retry
from tenantjobs_db.watching import Watching
from tenantjobs_db.worker import Worker
from tests.pooler import pgbouncer
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, soon

WOKEN = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
POSTGRESQL = [pytest.param("postgresql", marks=pytest.mark.postgres)]
LONG = 30.0  # seconds between two looks of a worker: whoever waits for that has not been woken
SOON = 5.0

SLEEPERS = text("""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


@contextmanager
def at_work(adapter: DatabaseAdapter, **options: Any) -> Iterator[Worker]:
    wish = WorkOptions(**({"polling_interval": LONG} | options))
    worker = Worker(adapter.database, adapter.settings, wish, alone=False)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture
def elsewhere(url: str, database: Database) -> Iterator[Queue]:
    """The queue as another process sees it, which does not know of our workers."""
    with closing(own(url, synchronous="NORMAL")) as opened:
        yield Queue(opened)


@pytest.fixture
def sleeper(database: Database) -> Iterator[Line]:
    """Somebody who sleeps at all queues."""
    with closing(Line(database, ["*"])) as line:
        line.listen()
        yield line


@pytest.fixture
def started() -> threading.Event:
    return threading.Event()


@pytest.fixture
def noop(adapter: DatabaseAdapter, started: threading.Event) -> None:
    @job(name="noop", tenancy="optional")
    def noop(_number: int) -> None:
        started.set()


def sleepers(database: Database) -> Sequence[int]:
    with database.autocommit() as connection:
        return connection.execute(SLEEPERS).scalars().all()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def until_asleep(database: Database) -> None:
    if database.dialect.notifies:
        until(lambda: sleepers(database))


@pytest.mark.parity("1b.09")
@pytest.mark.parametrize("url", WOKEN, indirect=True)
def test_a_worker_that_is_asleep_is_woken_by_jobs_of_other_processes(
    adapter: DatabaseAdapter, elsewhere: Queue, noop: None, started: threading.Event
) -> None:
    with at_work(adapter):
        until_asleep(adapter.database)
        elsewhere.enqueue([envelope(None)])

        assert started.wait(SOON)


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_worker_whose_connection_breaks_is_woken_on_another_one(
    adapter: DatabaseAdapter, elsewhere: Queue, noop: None, started: threading.Event
) -> None:
    with at_work(adapter):
        until_asleep(adapter.database)
        (broken,) = sleepers(adapter.database)
        with adapter.database.begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": broken})
        until(lambda: set(sleepers(adapter.database)) - {broken})
        elsewhere.enqueue([envelope(None)])

        assert started.wait(SOON)


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_worker_that_has_ended_leaves_nobody_to_call(adapter: DatabaseAdapter) -> None:
    with at_work(adapter):
        until_asleep(adapter.database)

    until(lambda: not sleepers(adapter.database))


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_nobody_is_called_who_is_awake(database: Database, elsewhere: Queue, sleeper: Line) -> None:
    with closing(Line(database, ["*"])) as witness:
        witness._execute(f'LISTEN "{witness._channel}"')
        sleeper.forget()
        elsewhere.enqueue(envelopes(3))
        unheard = witness._asked("SELECT 1") and witness.heard()
        sleeper.listen()
        elsewhere.enqueue(envelopes(3))
        heard = witness._asked("SELECT 1") and witness.heard()

    assert unheard == []
    assert heard == ["default"]


@pytest.mark.parametrize("pattern", ["mailers", "mail*"])
@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_only_those_are_called_who_sleep_at_the_queue(database: Database, elsewhere: Queue, pattern: str) -> None:
    with closing(Line(database, [pattern])) as sleeper:
        sleeper.listen()
        elsewhere.enqueue([envelope(queue="default")])
        elsewhere.enqueue([envelope(queue="mailers")])

        sleeper._asked("SELECT 1")
        assert sleeper.heard() == ["mailers"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_call_is_heard_when_the_transaction_commits_and_not_for_jobs_that_wait(
    database: Database, queue: Queue, sleeper: Line
) -> None:
    with database.begin() as connection:
        queue.enqueue_within(connection, [envelope()])
        queue.enqueue_within(connection, [envelope(queue="later", due_at=soon())])
        sleeper._asked("SELECT 1")
        before = sleeper.heard()
    sleeper._asked("SELECT 1")

    assert before == []
    assert sleeper.heard() == ["default"]


@pytest.mark.parametrize("count", [1, 2, 400])
@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_one_call_for_a_queue_is_enough_however_many_jobs_it_gets(elsewhere: Queue, sleeper: Line, count: int) -> None:
    elsewhere.enqueue(envelopes(count))

    sleeper._asked("SELECT 1")
    assert sleeper.heard() == ["default"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_jobs_that_become_ready_again_call_too(database: Database, queue: Queue, sleeper: Line) -> None:
    queue.enqueue(
        [envelope(queue="due", due_at=soon(0.5)), envelope(queue="retried"), envelope(queue="given", tenant="globex")]
    )
    claimer = Claimer(database, "retried", "given")
    retried, given = claimer.claim(1) + claimer.claim(1)
    sleeper._asked("SELECT pg_sleep(0.5)")
    sleeper.heard()

    queue.promote()
    claimer.settle(Retry(retried, envelope(queue="retried"), 0.0))
    claimer.settle(GiveBack(given))
    sleeper._asked("SELECT 1")

    assert sleeper.heard() == ["due", "retried", "given"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_job_that_is_to_run_now_calls_too(database: Database, queue: Queue, sleeper: Line) -> None:
    queue.enqueue([envelope(due_at=soon())])
    Intervening(database).change("run_now", JobFilter(), after=None, limit=10, reason=None)
    sleeper._asked("SELECT 1")

    assert sleeper.heard() == ["default"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_whoever_resumes_a_queue_or_a_tenant_calls_for_what_waits_there(
    database: Database, queue: Queue, claimer: Claimer, sleeper: Line
) -> None:
    queue.enqueue([envelope("acme", queue="mail"), envelope("globex")])
    sleeper._asked("SELECT 1")
    sleeper.heard()
    controls = Controls(database)
    controls.pause("queue", "mail")
    controls.pause("tenant", "acme")

    controls.resume("queue", "mail")
    controls.resume("queue", "mail")
    sleeper._asked("SELECT 1")
    assert sleeper.heard() == ["mail"]

    controls.resume("tenant", "acme")
    sleeper._asked("SELECT 1")
    assert sleeper.heard() == ["default", "mail"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_nobody_is_called_where_that_is_switched_off(url: str, database: Database, sleeper: Line) -> None:
    with closing(own(url, notify=False)) as silent:
        Queue(silent).enqueue([envelope()])
        sleeper._asked("SELECT 1")

        assert sleeper.heard() == []
        assert type(alarm_of(silent, ["*"], lambda: None)) is Alarm


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_queues_in_two_schemas_of_a_database_do_not_wake_each_other(url: str, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS other"))
        connection.execute(text("CREATE TABLE IF NOT EXISTS other.tj_jobs (LIKE public.tj_jobs INCLUDING ALL)"))
    with closing(own(f"{url}?options=-csearch_path%3Dother%2Cpublic")) as other, closing(Line(other, ["*"])) as sleeper:
        sleeper.listen()
        Queue(database).enqueue([envelope()])
        sleeper._asked("SELECT 1")
        before = sleeper.heard()
        Queue(other).enqueue([envelope()])
        sleeper._asked("SELECT 1")

        assert before == []
        assert sleeper.heard() == ["default"]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_worker_behind_a_pooler_polls(url: str, database: Database) -> None:
    with pgbouncer(url) as pooled, closing(own(pooled)) as behind:
        with pytest.raises(Unheard, match="a pooler"):
            Line(behind, ["*"])

        assert not sleepers(behind)
        assert "a pooler" in str(unheard(behind))
        assert unheard(database) is None


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_a_worker_whose_driver_cannot_listen_polls(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "READERS", ("psycopg2",))
    alarm = Listening(database, ["*"], lambda: None)
    with caplog.at_level("INFO", "tenantjobs.db"):
        alarm.start()
        alarm.join(5)
    alarm.rest()
    alarm.stop()

    (said,) = caplog.messages
    assert "the driver psycopg cannot" in str(unheard(database))
    assert said.startswith("the worker is not woken by NOTIFY, and polls: the driver psycopg cannot")


def test_each_database_has_its_alarm(database: Database) -> None:
    kinds = {"sqlite": Watching, "postgresql": Listening, "mysql": Alarm}

    assert type(alarm_of(database, ["*"], lambda: None)) is kinds[database.dialect.name]


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_who_was_called_in_vain_leaves_the_next_job_to_others_for_a_moment(database: Database) -> None:
    alarm = Listening(database, ["*"], lambda: None)
    alarm._asleep = True
    first = alarm._spread()
    for _ in range(20):
        alarm._look(0.0)
        alarm.rest()
    in_vain = max(alarm._spread() for _ in range(100))
    alarm.stir()

    assert (first, alarm._spread()) == (0.0, 0.0)
    assert 0.005 < in_vain <= listening.SPREAD


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_it_is_told_once_for_which_queues_a_worker_is_called(database: Database, elsewhere: Queue) -> None:
    rung = threading.Event()
    alarm = Listening(database, ["mail", "low"], rung.set)
    alarm.start()
    try:
        alarm.rest()
        until(lambda: sleepers(database))
        elsewhere.enqueue(envelopes(2, queue="mail"))
        called: list[str] = []
        until(lambda: called.extend(alarm.called()) or called)
    finally:
        alarm.stop()
        alarm.join(SOON)

    assert called == ["mail"]
    assert list(alarm.called()) == []


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_who_was_called_in_vain_asks_before_it_claims_the_next_time(database: Database) -> None:
    alarm = Listening(database, ["*"], lambda: None)
    alarm._asleep = True
    alarm._called.append("mail")
    alarm._look(0.0)
    alarm.rest()

    assert list(alarm.called()) == []
