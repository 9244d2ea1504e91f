from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.version import VERSION

from tenantjobs import adapter, perform_all_later, testing
from tenantjobs.adapter import WorkOptions
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs_db import DatabaseAdapter, schema
from tenantjobs_rq import RqAdapter
from tenantjobs_rq.pool import Pool
from tenantjobs_rq.settings import RqSettings
from tests.services import require
from tests.tenantjobs_rq import app, servers

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process


class Here:
    """Queues of their own, and what the jobs in them noted."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.store = redis.Redis.from_url(servers.REDIS)

    @property
    def key(self) -> str:
        return f"{self.prefix}note"

    @property
    def adapter(self) -> RqAdapter:
        found = adapter.configured()
        assert isinstance(found, RqAdapter)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The configuration of another process."""
        return {
            "TENANTJOBS_ADAPTER": "rq",
            "TENANTJOBS_APP": "tests.tenantjobs_rq.app",
            "TENANTJOBS_RQ_URL": servers.REDIS,
            "TENANTJOBS_RQ_PREFIX": self.prefix,
        }

    def queue(self, name: str = "default") -> Queue:
        return Queue(self.prefix + name, connection=self.store, serializer=JSONSerializer)

    def noted(self) -> list[str]:
        found: Any = self.store.lrange(self.key, 0, -1)
        return [each.decode() for each in found]

    def notes(self, count: int) -> list[str]:
        """What was noted, as soon as there is that much of it."""
        self.until(lambda: len(self.noted()) >= count)
        return self.noted()

    def failed(self, name: str = "default") -> list[Job]:
        ids = self.queue(name).failed_job_registry.get_job_ids()
        return [Job.fetch(each, connection=self.store, serializer=JSONSerializer) for each in ids]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + servers.PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"noted so far: {self.noted()}"
            time.sleep(0.02)

    @contextmanager
    def worker(self, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """``tenantjobs work``."""
        with servers.running(log, "tenantjobs.cli", "work", *arguments, **self.variables) as started:
            yield started

    def close(self) -> None:
        self.store.close()
        servers.remove(self.prefix)


@pytest.fixture
def here() -> Iterator[Here]:
    require("Redis")
    found = Here(f"tj{uuid.uuid4().hex[:10]}.")
    settings = {"url": servers.REDIS, "prefix": found.prefix}
    with testing.override(adapter="rq", app="tests.tenantjobs_rq.app", rq=settings):
        yield found
    found.close()


# in this process


def test_a_job_is_json_under_its_id(here: Here, acme: Any) -> None:
    with acme:
        handle = app.noted.perform_later(here.key)
    job = Job.fetch(handle.job_id, connection=here.store, serializer=JSONSerializer)
    stored: Any = here.store.hgetall(job.key)

    assert handle.enqueued
    assert job.func_name == "tenantjobs_rq.performing.perform"
    assert '"tenant_id":"acme"' in job.args[0]
    assert job.description == f"rq.noted id={handle.job_id} tenant=acme"
    assert not any(value.startswith(b"\x80") for value in stored.values())  # as pickles do


def test_drain_performs_in_the_scope_of_the_call(here: Here, acme: Any) -> None:
    with acme:
        app.noted.perform_later(here.key)
        app.noted_async.perform_later(here.key)
        app.elsewhere.perform_later(here.key)

    assert testing.drain() == 3
    assert here.noted() == ["acme"] * 3
    assert Current.scope == "unset"


def test_many_jobs_leave_in_one_round_trip(here: Here, acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = []
    execute = redis.client.Pipeline.execute
    monkeypatch.setattr(redis.client.Pipeline, "execute", lambda self: (trips.append(1), execute(self))[1])
    with acme:
        handles = perform_all_later(
            [*[app.noted.call(here.key) for _ in range(20)], app.elsewhere.call(here.key), app.elsewhere.call(here.key)]
        )

    assert len(trips) == 1
    assert all(handle.enqueued for handle in handles)
    assert testing.drain() == 22


def test_retries_are_ours(here: Here, acme: Any) -> None:
    with acme:
        app.retried.perform_later(here.key)

    assert testing.drain() == 3
    assert here.noted() == ["acme 1", "acme 2", "acme 3"]
    assert here.failed() == []


def test_a_failure_is_seen_in_rq_and_is_not_retried_by_it(here: Here, acme: Any) -> None:
    with acme:
        handle = app.failing.perform_later(here.key)

    assert testing.drain() == 1
    (failed,) = here.failed()
    result = failed.latest_result()
    assert failed.id == handle.job_id
    assert result is not None
    assert "RuntimeError: as asked for" in str(result.exc_string)


def test_a_discarded_job_is_no_failure(here: Here, acme: Any) -> None:
    with acme:
        app.discarded.perform_later(here.key)

    assert testing.drain() == 1
    assert here.failed() == []


def test_what_is_not_an_envelope_is_kept_among_the_failed(here: Here) -> None:
    here.queue().enqueue("tenantjobs_rq.performing.perform", "no envelope")

    assert testing.drain() == 1
    (failed,) = here.failed()
    result = failed.latest_result()
    assert result is not None
    assert "EnvelopeError" in str(result.exc_string)


def test_a_delayed_job_waits(here: Here, acme: Any) -> None:
    with acme:
        app.noted.set(wait=timedelta(hours=1)).perform_later(here.key)
        app.noted.set(wait=0.01).perform_later(here.key)
    performed = 0

    def drain() -> bool:
        nonlocal performed
        performed += testing.drain()
        return performed > 0

    here.until(drain)  # RQ schedules by the second
    assert performed == 1
    assert here.queue().scheduled_job_registry.count == 1


def test_a_delayed_job_is_never_early(here: Here, acme: Any) -> None:
    moment = datetime(2100, 1, 1, 12, 0, 0, 1, tzinfo=UTC)
    with acme:
        handle = app.noted.set(wait_until=moment).perform_later(here.key)

    registry = here.queue().scheduled_job_registry
    assert registry.get_scheduled_time(handle.job_id) == datetime(2100, 1, 1, 12, 0, 1, tzinfo=UTC)


def test_a_waiting_job_can_be_taken_back(here: Here, acme: Any) -> None:
    with acme:
        handle = app.noted.perform_later(here.key)
        delayed = app.noted.set(wait=timedelta(hours=1)).perform_later(here.key)

    assert handle.cancel()
    assert delayed.cancel()
    assert testing.drain() == 0
    assert here.queue().scheduled_job_registry.count == 0


def test_a_job_that_is_done_or_due_in_a_moment_cannot(here: Here, acme: Any) -> None:
    with acme:
        done = app.noted.perform_later(here.key)
        testing.drain()
        soon = app.noted.set(wait=5).perform_later(here.key)

    assert not done.cancel()
    assert not soon.cancel()
    assert here.queue().scheduled_job_registry.count == 1


def test_a_priority_is_refused_at_the_call(here: Here, acme: Any) -> None:
    with acme, pytest.raises(UnsupportedCapability, match=r"RqAdapter cannot do priority for job rq\.noted"):
        app.noted.set(priority=5).perform_later(here.key)

    assert here.queue().count == 0


def test_a_key_without_a_ledger_is_refused_at_the_call(here: Here, acme: Any) -> None:
    with acme, pytest.raises(ConfigurationError, match="RqAdapter has no ledger"):
        app.once.perform_later(here.key)

    assert testing.drain() == 0


def test_a_key_is_kept_in_the_database_that_is_configured(here: Here, acme: Any, tmp_path: Path) -> None:
    with testing.override(db={"url": f"sqlite:///{tmp_path / 'ledger.db'}"}):
        database = adapter.built("db")
        assert isinstance(database, DatabaseAdapter)
        schema.upgrade(database.database.engine)
        with acme:
            app.once.perform_later(here.key)
            app.once.perform_later(here.key)
        with Current.set(tenant_id="globex"):
            app.once.perform_later(here.key)

        assert testing.drain() == 3
    assert here.noted() == ["acme", "globex"]


def test_carriage_leaves_our_jobs_alone(here: Here, install: Any, acme: Any) -> None:
    install(after_commit=True)
    with Current.system("nightly"):
        handle = app.noted.perform_later(here.key)

    assert here.store.hget(f"rq:job:{handle.job_id}", "tenantjobs") is None
    assert testing.drain() == 1
    assert here.noted() == ["system"]


def test_options_that_a_worker_does_not_have_are_refused(here: Here) -> None:
    with pytest.raises(ConfigurationError, match="--polling-interval"):
        here.adapter.work(WorkOptions(polling_interval=3))


def test_a_redis_that_does_not_answer_is_named() -> None:
    found = RqAdapter(RqSettings(url="redis://127.0.0.1:1/0"))

    with pytest.raises(ConfigurationError, match=r"\[rq\] url: Redis does not answer"):
        found.work(WorkOptions())


# with real workers


def test_work_performs_and_drains(here: Here, acme: Any, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with acme:
        app.noted.perform_later(here.key)
        app.elsewhere.perform_later(here.key)
        app.retried.perform_later(here.key)
    with here.worker(log, "--drain", "--threads", "2") as worker:
        assert worker.wait(30) == 0, log.read_text()

    assert sorted(here.noted()) == ["acme", "acme", "acme 1", "acme 2", "acme 3"]


def test_drain_includes_the_queues_that_jobs_enqueue_to(here: Here, acme: Any, tmp_path: Path) -> None:
    with acme:
        app.forwarding.perform_later(here.key)
    with here.worker(tmp_path / "worker.log", "--drain", "--threads", "1") as worker:
        assert worker.wait(30) == 0

    assert here.noted() == ["acme"]


def test_a_worker_keeps_its_queues_while_redis_does_not_answer(
    here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [["one"], redis.exceptions.ConnectionError("gone"), ["one", "two"]]
    started: list[list[str]] = []

    def find() -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    pool = Pool(here.store, find, processes=1, shutdown_timeout=1)
    monkeypatch.setattr(pool, "start_worker", lambda **_: started.append(pool._queue_names))
    pool.check_workers()
    pool.check_workers()

    assert started == [["one"], ["one", "two"]]
    assert "Redis does not say which queues there are" in caplog.text


def test_a_worker_performs_what_comes_later_in_queues_that_come_up_later(here: Here, acme: Any, tmp_path: Path) -> None:
    with here.worker(tmp_path / "worker.log", "--threads", "1"), acme:
        app.noted.set(wait=1).perform_later(here.key)
        assert here.notes(1) == ["acme"]
        app.noted.set(queue="fresh").perform_later(here.key)
        assert here.notes(2) == ["acme", "acme"]


def test_a_worker_serves_the_queues_that_it_is_told(here: Here, acme: Any, tmp_path: Path) -> None:
    with acme:
        app.noted.perform_later(here.key)
        app.elsewhere.perform_later(here.key)
    with here.worker(tmp_path / "worker.log", "--drain", "-q", "elsewhere") as worker:
        worker.wait(30)

    assert here.noted() == ["acme"]
    assert here.queue("default").count == 1


@pytest.mark.skipif(VERSION.startswith("2.0"), reason="the worker of RQ 2.0 ends when a work horse is killed")
def test_a_job_whose_process_died_is_performed_again(here: Here, acme: Any, tmp_path: Path) -> None:
    with acme:
        app.killed.perform_later(here.key)
    with here.worker(tmp_path / "worker.log", "--threads", "1"):
        assert here.notes(2) == ["acme", "acme"]

    assert here.failed() == []


def test_a_worker_that_is_stopped_leaves_in_time_and_the_job_is_not_lost(here: Here, acme: Any, tmp_path: Path) -> None:
    with acme:
        handle = app.endless.perform_later(here.key)
    with here.worker(tmp_path / "worker.log", "--threads", "1", "--shutdown-timeout", "0.5") as worker:
        here.notes(1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)
    here.queue().started_job_registry.cleanup(timestamp=time.time() + 3600)  # as workers do, an hour later

    assert here.queue().job_ids == [handle.job_id]


def test_a_worker_of_rq_itself_performs_our_jobs(here: Here, acme: Any, tmp_path: Path) -> None:
    with acme:
        app.noted.perform_later(here.key)
    command = ["worker", "-S", "rq.serializers.JSONSerializer", "-j", "tenantjobs_rq.TenantJob"]
    with servers.process(tmp_path / "worker.log", *command, f"{here.prefix}default", **here.variables):
        assert here.notes(1) == ["acme"]
