"""The outbox as relays see it: each job is published once while they live, and taken over when one dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import delete, select, update

import tenantjobs_db
from tenantjobs import testing
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.outbox_rows import OutboxRows
from tenantjobs_db.relaying import PATIENCE, Relay
from tests.tenantjobs_db.making import LONG_AGO, envelope, envelopes


class Target:
    """A queue that keeps the ids it is given, and refuses some."""

    capabilities = Capabilities(bulk=True)

    def __init__(self) -> None:
        self.published: list[str] = []
        self.refused: set[str] = set()
        self.down = False
        self.asked = 0

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.asked += 1
        if self.down or any(envelope.id in self.refused for envelope in envelopes):
            raise ConnectionError("refused")
        self.published += [envelope.id for envelope in envelopes]

    def close(self) -> None: ...


@pytest.fixture
def rows(database: Database) -> OutboxRows:
    with database.begin() as connection:
        connection.execute(delete(tables.outbox))
    return OutboxRows(database, lease=60.0)


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def relay(rows: OutboxRows, target: Target) -> Relay:
    return Relay(rows, lambda: target)


@pytest.fixture
def leave(rows: OutboxRows, database: Database) -> Callable[[Sequence[Envelope]], list[str]]:
    """Leave jobs in the outbox, whose writers are dead."""

    def leave(jobs: Sequence[Envelope]) -> list[str]:
        with database.begin() as connection:
            rows.write(connection, jobs)
        let_lease_run_out(database)
        return [job.id for job in jobs]

    return leave


def let_lease_run_out(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(update(tables.outbox).values(relay_at=LONG_AGO))


def waiting(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.scalars(select(tables.outbox.c.id).order_by(tables.outbox.c.id)))


def test_what_is_left_is_published_in_its_order(
    relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database
) -> None:
    ids = leave(envelopes(1200))

    assert relay.relay() == 1200
    assert target.published == ids
    assert waiting(database) == []


def test_an_envelope_is_published_as_it_was_written(
    relay: Relay, target: Target, leave: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(target, "enqueue_all", lambda jobs: seen.extend(job.encode() for job in jobs))
    written = envelope("globex", queue="mail", priority=3)
    leave([written])
    relay.relay()

    assert seen == [written.encode()]


def test_whoever_wrote_a_job_has_time_to_publish_it(
    rows: OutboxRows, relay: Relay, target: Target, database: Database
) -> None:
    with database.begin() as connection:
        rows.write(connection, envelopes(2))

    assert relay.relay() == 0
    assert len(waiting(database)) == 2


def test_a_relay_does_not_take_what_another_has_claimed(
    rows: OutboxRows, relay: Relay, leave: Callable[..., list[str]]
) -> None:
    leave(envelopes(3))

    assert len(rows.claim(2)) == 2
    assert relay.relay() == 1


def test_a_job_that_somebody_publishes_cannot_be_taken_back(
    rows: OutboxRows, leave: Callable[..., list[str]], database: Database
) -> None:
    ids = leave(envelopes(2))
    rows.claim(1)

    assert [rows.cancel(job_id) for job_id in ids] == [False, True]
    assert waiting(database) == ids[:1]


def test_what_a_dead_relay_had_claimed_is_taken_over(
    rows: OutboxRows, relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database
) -> None:
    ids = leave(envelopes(3))
    rows.claim()
    let_lease_run_out(database)

    assert relay.relay() == 3
    assert target.published == ids


def test_relays_at_once_publish_each_job_once(
    database: Database, target: Target, leave: Callable[..., list[str]]
) -> None:
    ids = leave(envelopes(300))
    start = threading.Barrier(4)
    lock = threading.Lock()
    enqueue_all = target.enqueue_all

    def publish(jobs: Sequence[Envelope]) -> None:
        with lock:
            enqueue_all(jobs)

    target.enqueue_all = publish  # type: ignore[method-assign]

    def work() -> None:
        rows = OutboxRows(database, lease=60.0)
        start.wait()
        relay = Relay(rows, lambda: target)
        while claimed := rows.claim(7):
            relay._publish(claimed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(target.published) == ids
    assert waiting(database) == []


def test_a_queue_that_is_down_is_not_asked_for_every_job(
    relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database
) -> None:
    ids = leave(envelopes(100))
    target.down = True
    with pytest.raises(ConnectionError):
        relay.relay()

    assert target.asked == 1 + PATIENCE
    assert waiting(database) == ids

    target.down = False

    assert relay.relay() == 100 - PATIENCE  # the others have their pause


def test_a_job_that_no_queue_takes_does_not_keep_the_others_back(
    relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ids = leave(envelopes(10))
    target.refused = set(ids[:PATIENCE])
    with pytest.raises(ConnectionError):
        relay.relay()

    assert relay.relay() == 10 - PATIENCE
    assert waiting(database) == ids[:PATIENCE]
    assert f"noop id={ids[0]} tenant=acme could not be published" in caplog.text

    with database.begin() as connection:
        errors = connection.scalars(select(tables.outbox.c.error)).all()
    assert set(errors) == {"ConnectionError: refused"}


def test_a_job_that_cannot_be_read_is_such_a_job(
    relay: Relay, leave: Callable[..., list[str]], database: Database
) -> None:
    ids = leave(envelopes(3))
    with database.begin() as connection:
        connection.execute(update(tables.outbox).where(tables.outbox.c.id == ids[0]).values(data="{}"))

    assert relay.relay() == 2
    assert waiting(database) == ids[:1]


def test_a_job_that_is_refused_again_waits_longer(
    relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database
) -> None:
    leave(envelopes(1))
    target.down = True
    for _ in range(3):
        relay.relay()
        let_lease_run_out(database)

    with database.begin() as connection:
        assert connection.scalars(select(tables.outbox.c.failures)).all() == [3]


def test_publishing_is_repeated_under_the_same_id_after_a_death_in_between(
    rows: OutboxRows, relay: Relay, target: Target, leave: Callable[..., list[str]], database: Database
) -> None:
    """At least once: the database died between the publication and its note."""
    ids = leave(envelopes(1))
    target.enqueue_all([Envelope.decode(claimed.data) for claimed in rows.claim()])
    let_lease_run_out(database)
    relay.relay()

    assert target.published == ids * 2


class TestTheQueueInADatabaseOfItsOwn:
    """The application's database is ``database``; the queue is in a file."""

    @pytest.fixture
    def queue(self, database: Database, tmp_path: object) -> Iterator[DatabaseAdapter]:
        from tenantjobs import adapter as adapters

        section = {"engine": database.engine, "url": f"sqlite:///{tmp_path}/apart.db", "synchronous": "NORMAL"}
        with testing.override(adapter="db", outbox=True, tenancy="optional", db=section):
            found = adapters.configured()
            assert isinstance(found, DatabaseAdapter)
            yield found

    def test_a_job_that_is_published_twice_is_there_once(
        self, queue: DatabaseAdapter, rows: OutboxRows, leave: Callable[..., list[str]], database: Database
    ) -> None:
        [job] = envelopes(1)
        leave([job])
        queue.enqueue(job)

        assert queue.outbox.relay.relay() == 1
        assert queue.queue.counts() == {"ready": 1}
        assert waiting(database) == []

    def test_it_does_not_join_the_applications_transactions(self, queue: DatabaseAdapter, database: Database) -> None:
        assert not queue.joins(database.engine)
        assert queue.outbox.joins(database.engine)

    def test_a_worker_that_drains_relays_first(
        self, queue: DatabaseAdapter, rows: OutboxRows, leave: Callable[..., list[str]], database: Database
    ) -> None:
        leave(envelopes(3))
        queue.work(WorkOptions(drain=True))

        assert queue.queue.counts() == {"quarantined": 3}  # jobs that this process does not know

    def test_a_process_relays_while_the_block_runs(
        self, queue: DatabaseAdapter, leave: Callable[..., list[str]], database: Database
    ) -> None:
        published = threading.Event()
        enqueue_all = queue.enqueue_all

        def publish(jobs: Sequence[Envelope]) -> None:
            enqueue_all(jobs)
            published.set()

        queue.enqueue_all = publish  # type: ignore[method-assign]
        leave(envelopes(1))
        with tenantjobs_db.relay():
            assert published.wait(10)

        assert queue.queue.counts() == {"ready": 1}
        assert waiting(database) == []

    def test_the_schema_of_the_application_is_checked_too(self, queue: DatabaseAdapter, database: Database) -> None:
        assert queue.check() == []

        with database.begin() as connection:
            connection.execute(delete(tables.schema))
        try:
            assert ["run `tenantjobs db upgrade`" in problem for problem in queue.check()] == [True]
            with pytest.raises(ConfigurationError, match="tenantjobs db upgrade"), tenantjobs_db.relay():
                pass
        finally:
            with database.begin() as connection:
                now = database.dialect.now()
                for version in range(1, tenantjobs_db.schema.VERSION + 1):
                    connection.execute(tables.schema.insert().values(version=version, applied_at=now))


def test_without_an_outbox_there_is_nothing_to_relay() -> None:
    with testing.override(adapter="test"), pytest.raises(ConfigurationError, match="outbox = true"):
        with tenantjobs_db.relay():
            pass
