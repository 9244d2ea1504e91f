"""The queue on PostgreSQL by the driver psycopg2: the way of a job, as by psycopg."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import (
    Current,
    batch,
    current_job,
    job,
    limits_concurrency,
    perform_all_later,
    retry_on,
    stored_jobs,
    testing,
    unique,
)
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database, own
from tenantjobs_db.queue import Queue
from tests.tenantjobs_db.making import Claimer, envelope, envelopes
from tests.tenantjobs_db.test_alarm import SOON, at_work, sleepers, until, until_asleep

pytest.importorskip("psycopg2")
pytestmark = pytest.mark.postgres

ODD_NAMES = ['"quoted"', "back\\slash", "{braces}", "a,b", "%s %(name)s", ":colon", "ä€", "NULL"]
ODD = [*ODD_NAMES, "two\nlines", ""]

performed: list[Any] = []


@pytest.fixture
def url(postgres_url: str) -> str:
    performed.clear()
    return postgres_url.replace("+psycopg:", "+psycopg2:")


@pytest.fixture
def note(adapter: DatabaseAdapter) -> Any:
    assert adapter.database.engine.dialect.driver == "psycopg2"

    @job(name="note", keep_result=True)
    def note(value: Any = None) -> Any:
        performed.append(value)
        return value

    return note


def test_jobs_are_enqueued_performed_and_settled_one_by_one_and_many_at_once(queue: Queue, note: Any) -> None:
    (one, *_) = perform_all_later([note.call(value) for value in ODD])
    single = note.perform_later("single")
    perform_all_later([note.call(number) for number in range(300)])

    assert testing.drain() == len(ODD) + 301
    assert sorted(map(str, performed)) == sorted(map(str, [*ODD, "single", *range(300)]))
    assert queue.counts() == {"finished": len(ODD) + 301}
    assert (one.result(), single.result()) == (ODD[0], "single")


def test_odd_names_and_errors_are_stored_as_they_are(queue: Queue, note: Any) -> None:
    @job(name="fails", policies=[retry_on(OSError, wait=0, attempts=2)])
    def fails(what: str) -> None:
        raise OSError(what)

    for odd in ODD_NAMES:
        with Current.set(tenant_id=odd):
            fails.set(queue=odd, priority=-3).perform_later(odd)
    testing.drain()

    found = list(stored_jobs(state="failed"))
    assert sorted((view.tenant_id, view.queue, view.last_error and view.last_error.message) for view in found) == (
        sorted((odd, odd, odd) for odd in ODD_NAMES)
    )
    assert stored_jobs().retry_all().done == len(found)


def test_what_is_unique_limited_scheduled_or_of_a_batch_is(queue: Queue, note: Any) -> None:
    @job(name="alone", policies=[unique("until_executed"), limits_concurrency(to=1)])
    def alone() -> None:
        running = current_job()
        assert running is not None
        running.progress(1, 2)
        performed.append("alone")

    with batch(on_success=note.call("all of them")):
        handles = [alone.perform_later(), alone.perform_later(), note.perform_later(1)]
    later = note.set(wait=timedelta(hours=1)).perform_later("later")
    testing.drain()

    assert [handle.enqueued for handle in handles] == [True, False, True]
    assert sorted(map(str, performed)) == ["1", "all of them", "alone"]
    assert stored_jobs().run_now(later.job_id) is None
    assert note.set(wait=60).perform_later().cancel()
    testing.drain()
    assert performed[-1] == "later"


def test_many_verdicts_are_written_by_one_statement_and_those_of_others_refused(
    queue: Queue, claimer: Claimer, database: Database
) -> None:
    queue.enqueue(envelopes(20, "acme") + envelopes(20, "globex"))
    claims = claimer.claim(40)
    other = Claimer(database)

    stolen = [msgspec.structs.replace(claim, process=other.process) for claim in claims[:3]]
    assert len(other.finish(stolen)) == 3
    assert claimer.finish(claims) == []
    assert queue.counts() == {"finished": 40}


@pytest.fixture
def sessions(url: str, adapter: DatabaseAdapter) -> Iterator[sessionmaker[Session]]:
    """An application whose engine the queue knows."""
    engine = create_engine(url)
    made = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(made)
    with testing.override(db={"engine": engine}):
        yield made
    engine.dispose()


def test_jobs_commit_with_the_transaction_of_the_application(
    sessions: sessionmaker[Session], queue: Queue, note: Any
) -> None:
    @job(name="transacted", transactional=True, keep_result=True)
    def transacted(value: str) -> str:
        return value

    with sessions.begin():
        kept = transacted.perform_later("kept")
        perform_all_later([note.call(number) for number in range(20)])
    with sessions() as session, pytest.raises(ZeroDivisionError), session.begin():
        note.perform_later("dropped")
        raise ZeroDivisionError

    assert queue.counts() == {"ready": 21}
    assert testing.drain() == 21
    assert kept.result() == "kept"


def test_a_tenant_is_exported_and_purged(adapter: DatabaseAdapter, note: Any) -> None:
    with Current.set(tenant_id="acme"):
        note.perform_later("secret")
    testing.drain()
    file = io.BytesIO()

    assert adapter.exports.export("acme", file).rows["tj_jobs"] == 1
    assert adapter.purges.purge("acme").is_empty


def test_a_worker_is_woken_and_so_it_is_when_its_connection_breaks(adapter: DatabaseAdapter, url: str) -> None:
    started = threading.Semaphore(0)

    @job(name="noop", tenancy="optional")
    def noop(_number: int) -> None:
        started.release()

    with at_work(adapter), closing(own(url)) as elsewhere:
        until_asleep(adapter.database)
        Queue(elsewhere).enqueue([envelope(None)])
        assert started.acquire(timeout=SOON)

        until_asleep(adapter.database)
        (broken,) = sleepers(adapter.database)
        with elsewhere.autocommit() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": broken})
        until(lambda: set(sleepers(adapter.database)) - {broken})
        Queue(elsewhere).enqueue([envelope(None)])
        assert started.acquire(timeout=SOON)
