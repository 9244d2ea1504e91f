from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.version import VERSION

from tenantjobs import Current, LedgerUnavailable, adapter, once, testing
from tenantjobs.adapter import HasLedger, HasLocks, HasPermits
from tenantjobs.errors import ConfigurationError, DuplicateJob, UnsupportedCapability
from tenantjobs.execution import execute
from tenantjobs.outcome import Failed, Finished, Retried
from tenantjobs_db import DatabaseAdapter
from tenantjobs_redis import RedisKeeper
from tenantjobs_redis.settings import RedisSettings
from tests.services import REDIS
from tests.tenantjobs_redis import app
from tests.tenantjobs_redis.conftest import NOBODY
from tests.tenantjobs_rq import servers

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

AWAY: Any = {"url": NOBODY}


class Here:
    """A queue of RQ with ``[redis]`` beside it and no database, and what the jobs noted."""

    def __init__(self, prefix: str, keys: RedisSettings) -> None:
        self.prefix = prefix
        self.place = f"{prefix}note"
        self.keys = keys

    @property
    def variables(self) -> dict[str, str]:
        """The configuration of another process."""
        return {
            "TENANTJOBS_ADAPTER": "rq",
            "TENANTJOBS_APP": "tests.tenantjobs_redis.app",
            "TENANTJOBS_RQ_URL": REDIS,
            "TENANTJOBS_RQ_PREFIX": self.prefix,
            "TENANTJOBS_REDIS_URL": REDIS,
            "TENANTJOBS_REDIS_PREFIX": self.keys.prefix,
        }

    def noted(self) -> list[str]:
        found: Any = app.STORE.lrange(self.place, 0, -1)
        return list(found)

    def message(self, job_id: str | None) -> str:
        """What a worker is given."""
        assert job_id is not None
        with redis.Redis.from_url(REDIS) as connection:
            found: str = Job.fetch(job_id, connection=connection, serializer=JSONSerializer).args[0]
        return found


@pytest.fixture
def here(settings: RedisSettings) -> Iterator[Here]:
    found = Here(f"tj{uuid.uuid4().hex[:10]}.", settings)
    with testing.override(
        adapter="rq",
        app="tests.tenantjobs_redis.app",
        rq={"url": REDIS, "prefix": found.prefix},
        redis={"url": REDIS, "prefix": settings.prefix},
    ):
        with Current.set(tenant_id="acme"):
            yield found
    servers.remove(found.prefix)


def test_an_idempotent_job_has_its_effect_once_for_each_key_and_tenant(here: Here) -> None:
    for number in (7, 7, 8):
        app.charged.perform_later(here.place, number)
    with Current.switch("the other one", tenant_id="globex"):
        app.charged.perform_later(here.place, 7)

    assert testing.drain() == 4
    assert sorted(here.noted()) == ["acme: charged 7", "acme: charged 8", "globex: charged 7"]


def test_once_is_once_in_jobs_of_both_colours(here: Here) -> None:
    for job in (app.greeted, app.greeted_async, app.greeted):
        job.perform_later(here.place)

    testing.drain()

    assert sorted(here.noted()) == ["acme: again", "acme: again", "acme: hello"]


def test_a_job_that_failed_leaves_its_key_free(here: Here) -> None:
    data = here.message(app.failing.perform_later(here.place).job_id)

    assert isinstance(execute(data), Failed)
    assert isinstance(execute(data), Failed)
    assert here.noted() == ["acme: tried"] * 2


def test_a_unique_job_is_enqueued_once_until_it_is_done(here: Here) -> None:
    first, second = app.reported.perform_later(here.place), app.reported.perform_later(here.place)
    testing.drain()
    third = app.reported.perform_later(here.place)

    assert (first.enqueued, second.enqueued, third.enqueued) == (True, False, True)
    assert isinstance(second.enqueue_error, DuplicateJob)


@pytest.mark.skipif(VERSION.startswith("2.0"), reason="the worker of RQ 2.0 ends when a work horse is killed")
def test_a_job_whose_worker_was_killed_takes_its_own_key_over(here: Here, tmp_path: Path) -> None:
    app.fragile.perform_later(here.place)
    with servers.running(tmp_path / "log", "tenantjobs.cli", "work", "--threads", "1", **here.variables):
        deadline = time.monotonic() + servers.PATIENCE
        while len(here.noted()) < 2:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)

    assert here.noted() == ["acme: database libraries: False"] * 2


def test_while_redis_does_not_answer_a_job_comes_back_later_and_is_not_charged(here: Here) -> None:
    data = here.message(app.charged.perform_later(here.place, 7).job_id)
    with testing.override(redis=AWAY):
        outcome = execute(data)

    assert isinstance(outcome, Retried)
    assert outcome.envelope.attempt == 0
    assert "does not say who has the key" in (outcome.note or "")
    assert here.noted() == []
    assert isinstance(execute(data), Finished)
    assert here.noted() == ["acme: charged 7"]


@pytest.mark.parametrize("job", [app.greeted, app.careless])
def test_once_in_a_job_sends_it_back_while_redis_does_not_answer(here: Here, job: Any) -> None:
    data = here.message(job.perform_later(here.place).job_id)
    with testing.override(redis=AWAY):
        outcome = execute(data)

    assert isinstance(outcome, Retried)
    assert here.noted() == []


def test_once_elsewhere_raises_while_redis_does_not_answer(here: Here) -> None:
    with testing.override(redis=AWAY), pytest.raises(LedgerUnavailable), once("greet"):
        here.noted().append("never")


def test_a_unique_job_is_not_enqueued_while_redis_does_not_answer(here: Here) -> None:
    with testing.override(redis=AWAY), pytest.raises(LedgerUnavailable):
        app.reported.perform_later(here.place)

    assert testing.drain() == 0


def test_a_key_that_cannot_be_marked_any_more_fails_no_job_whose_work_is_done(
    here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def complete(*_: object) -> None:
        raise LedgerUnavailable("away")

    keeper = adapter.built("redis")
    assert isinstance(keeper, RedisKeeper)
    monkeypatch.setattr(keeper.ledger, "complete", complete)
    data = here.message(app.charged.perform_later(here.place, 7).job_id)

    assert isinstance(execute(data), Finished)
    assert "the key 'charge:7' could not be marked as done" in caplog.text


def test_why_work_failed_is_told_also_when_its_key_cannot_be_freed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def release(*_: object) -> None:
        raise LedgerUnavailable("away")

    keeper = adapter.built("redis")
    assert isinstance(keeper, RedisKeeper)
    monkeypatch.setattr(keeper.ledger, "release", release)
    outcome = execute(here.message(app.failing.perform_later(here.place).job_id))

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ValueError)


def test_where_a_database_is_configured_too_it_keeps_what_can_commit_with_the_work(here: Here) -> None:
    assert isinstance(adapter.keeper(HasLedger), RedisKeeper)
    with testing.override(db={"url": "sqlite://"}):
        assert isinstance(adapter.keeper(HasLedger), DatabaseAdapter)
        assert isinstance(adapter.keeper(HasLocks), DatabaseAdapter)
        assert isinstance(adapter.keeper(HasPermits), DatabaseAdapter)
    with testing.override(adapter="test"):
        assert not isinstance(adapter.keeper(HasLedger), RedisKeeper), "an adapter that has a ledger uses it"


def test_limits_and_rates_are_refused_and_say_where_they_could_be_counted(here: Here) -> None:
    with pytest.raises(ConfigurationError, match=r"redis.limited is limited.*a database for the ledger in \[db\]"):
        app.limited.perform_later()
    with pytest.raises(UnsupportedCapability, match=r"redis.rated has a rate.*a database for the ledger in \[db\]"):
        app.Rated.perform_later()


def test_it_is_no_queue(here: Here) -> None:
    with testing.override(adapter="redis"):
        with pytest.raises(ConfigurationError, match="is none itself: name one that has Redis as its broker"):
            app.greeted.perform_later(here.place)
        assert "is none itself" in adapter.configured().check()[0]  # type: ignore[attr-defined]


def test_check_says_that_redis_does_not_answer(here: Here, tmp_path: Path) -> None:
    well, ill = tmp_path / "well", tmp_path / "ill"
    for log, url in ((well, REDIS), (ill, NOBODY)):
        with servers.running(
            log, "tenantjobs.cli", "check", **here.variables | {"TENANTJOBS_REDIS_URL": url}
        ) as checking:
            checking.wait(servers.PATIENCE)

    assert "no problems" in well.read_text()
    assert "[redis] url: Redis does not answer" in ill.read_text()
