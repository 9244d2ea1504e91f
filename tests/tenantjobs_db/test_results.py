"""What jobs return is kept where they say so: with the job, for its tenant, as long as the job is kept."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, update

from tenantjobs import Current, chain, current_job, guard, idempotent, job, stored_jobs, testing
from tenantjobs.errors import (
    CrossTenantSwitch,
    JobGone,
    NoResult,
    SerializationError,
    TenantMissing,
    Undecipherable,
    UnsupportedCapability,
)
from tenantjobs.exporting import verify
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.settlement import Finish, GiveBack
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, let_time_pass_since_the_end

# What is the same whatever the database is.
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def jobs_of_this_test(adapter: DatabaseAdapter) -> None:
    """On the configured adapter."""


def kept(*, keep_result: bool = True, **options: Any) -> Any:
    """A job that keeps what it returns, and returns what it is given."""

    @job(name="echo", keep_result=keep_result, **options)
    def echo(value: Any = None) -> Any:
        return value

    return echo


def rows(database: Database) -> int:
    with database.autocommit() as connection:
        count: int = connection.execute(select(func.count()).select_from(tables.results)).scalar_one()
    return count


@pytest.mark.parity("1b.40")
@pytest.mark.parametrize("value", [None, 0, "", [1, "two"], {"at": (date(2026, 1, 2), b"\x00"), 3: {4}}])
def test_what_a_job_returns_can_be_read_once_it_has_finished(value: Any) -> None:
    handle = kept().perform_later(value)
    with pytest.raises(NoResult, match="is ready, and has no result"):
        handle.result()
    testing.drain()

    assert handle.result() == value
    assert stored_jobs().result(handle.job_id) == value
    assert stored_jobs(state="finished").result(handle.job_id) == value


@pytest.mark.parity("1b.40")
def test_nothing_is_kept_of_a_job_that_does_not_ask(database: Database) -> None:
    handle = kept(keep_result=False).perform_later(7)
    testing.drain()

    with pytest.raises(NoResult, match="is finished, and has no result"):
        handle.result()
    assert rows(database) == 0


def test_many_that_end_together_have_each_their_own(database: Database) -> None:
    echoes = kept()

    @job(name="plain")
    def plain(value: Any) -> Any:
        return value

    handles = [each.perform_later(number) for number in range(20) for each in (echoes, plain)]
    testing.drain()

    assert [handle.result() for handle in handles[::2]] == list(range(20))
    assert rows(database) == 20


@on_sqlite
def test_an_async_job_keeps_what_it_returns() -> None:
    @job(name="aecho", keep_result=True)
    async def aecho(value: int) -> int:
        return value

    handle = aecho.perform_later(3)
    testing.drain()

    assert handle.result() == 3


@on_sqlite
@pytest.mark.parametrize(
    ("value", "said"), [(object(), "object"), (rows, "function"), ("x" * 2000, "over the limit of 1,000")]
)
def test_what_cannot_be_kept_fails_the_job_and_says_why(value: Any, said: str) -> None:
    @job(name="impossible", keep_result=True)
    def impossible() -> Any:
        return value

    with testing.override(size_limit=1000):
        handle = impossible.perform_later()
        testing.drain()

    (failed,) = stored_jobs(state="failed")
    assert failed.last_error is not None
    assert failed.last_error.error_class.endswith(SerializationError.__name__)
    assert said in failed.last_error.message
    assert f"job impossible id={handle.job_id}: what it returned" in failed.last_error.message
    with pytest.raises(NoResult, match="is failed"):
        handle.result()


@on_sqlite
def test_a_job_that_is_skipped_has_none() -> None:
    handle = kept(policies=[guard(lambda value: False)]).perform_later(1)
    testing.drain()

    with pytest.raises(NoResult, match="its guard said no"):
        handle.result()


@on_sqlite
def test_a_job_behind_a_key_keeps_what_it_returned_the_first_time() -> None:
    once = kept(policies=[idempotent(key=lambda value: "k")])
    first, second = once.perform_later(1), once.perform_later(2)
    testing.drain()

    assert first.result() == 1
    with pytest.raises(NoResult, match="its key is done already"):
        second.result()


@on_sqlite
def test_each_link_of_a_chain_keeps_its_own() -> None:
    echoes = kept()
    handle = chain(echoes.call(1), echoes.call(2)).perform_later()
    testing.drain()

    assert handle.result() == 1
    assert sorted(stored_jobs().result(found.id) for found in stored_jobs()) == [1, 2]


# Whose it is
@on_sqlite
def test_another_tenant_does_not_see_it() -> None:
    with Current.set(tenant_id="acme"):
        handle = kept().perform_later("secret")
    testing.drain()

    with Current.set(tenant_id="globex"):
        with pytest.raises(JobGone):
            handle.result()
        with pytest.raises(JobGone):
            stored_jobs().result(handle.job_id)
        with pytest.raises(CrossTenantSwitch):
            stored_jobs(tenant="acme").result(handle.job_id)
    with Current.set(tenant_id="acme"):
        assert handle.result() == stored_jobs().result(handle.job_id) == "secret"
    with Current.system("support"):
        assert handle.result() == "secret"
    with testing.override(tenancy="required"), pytest.raises(TenantMissing, match="the result of a job was asked for"):
        handle.result()


@on_sqlite
def test_it_is_not_among_others_than_those_that_are_meant() -> None:
    handle = kept().perform_later(1)
    testing.drain()

    with pytest.raises(JobGone):
        stored_jobs(queue="another").result(handle.job_id)


@on_sqlite
def test_it_is_encrypted_where_arguments_are(database: Database) -> None:
    keys = {"acme": bytes(32)}
    with testing.override(encryption={"keys": lambda tenant: keys[tenant]}), Current.set(tenant_id="acme"):
        first, second = (kept().perform_later(value) for value in ("secret", "other"))
        testing.drain()
        with database.begin() as connection:
            texts = connection.execute(select(tables.results.c.result)).scalars().all()
            data = connection.execute(select(tables.jobs.c.data).where(tables.jobs.c.id == second.job_id)).scalar_one()

        assert len(texts) == 2
        assert not any("secret" in text for text in texts)
        assert first.result() == "secret"

        sealed_arguments = msgspec.json.encode(msgspec.json.decode(data)["arguments"]).decode()
        for other in (texts[1], sealed_arguments):
            with database.begin() as connection:
                connection.execute(
                    update(tables.results).where(tables.results.c.job_id == first.job_id).values(result=other)
                )
            if other != texts[0]:
                with pytest.raises(Undecipherable, match="belong to another job"):
                    first.result()
        keys.clear()
        with pytest.raises(Undecipherable, match="results are encrypted"):
            second.result()


# How long it is there
def test_it_is_forgotten_with_its_job(queue: Queue, database: Database) -> None:
    handle = kept().perform_later(1)
    testing.drain()
    let_time_pass_since_the_end(database)
    queue.prune(60)

    assert rows(database) == 0
    with pytest.raises(JobGone):
        handle.result()


@on_sqlite
def test_it_is_cleared_with_its_job(database: Database) -> None:
    handle = kept().perform_later(1)
    testing.drain()
    stored_jobs().clear(handle.job_id)

    assert rows(database) == 0


@on_sqlite
def test_it_goes_with_its_tenant(adapter: DatabaseAdapter, database: Database) -> None:
    with Current.set(tenant_id="acme"):
        kept().perform_later({"card": "4711", "name": "Ann"})
    testing.drain()

    file = io.BytesIO()
    adapter.exports.export("acme", file, redact=["card"])
    lines = [msgspec.json.decode(line) for line in file.getvalue().splitlines()]
    (written,) = [line["row"] for line in lines if line.get("table") == "tj_results"]
    assert written["result"] == {"card": "[redacted]", "name": "Ann"}
    assert verify(io.BytesIO(file.getvalue())).unreadable == 0

    assert adapter.purges.purge("acme").is_empty
    assert rows(database) == 0


@pytest.mark.parity("1b.40")
def test_it_is_written_with_the_verdict_or_not_at_all(queue: Queue, claimer: Claimer, database: Database) -> None:
    queue.enqueue(envelopes(2))
    late, ours = claimer.claim(2)
    claimer.settle(GiveBack(late))

    refused = claimer.settle(Finish(late, result="[1]"), Finish(ours, result="[2]"))

    assert [settlement.claim for settlement in refused] == [late]
    with database.autocommit() as connection:
        assert connection.execute(select(tables.results.c.job_id)).scalars().all() == [ours.id]


@on_sqlite
def test_where_finished_jobs_are_not_kept_it_is_refused_at_the_call(queue: Queue, url: str) -> None:
    with (
        testing.override(db={"url": url, "keep_finished": 0}),
        pytest.raises(UnsupportedCapability, match="keep_result of job echo"),
    ):
        kept().perform_later(1)

    assert queue.counts() == {}


@on_sqlite
def test_a_worker_that_keeps_no_finished_jobs_keeps_no_result_either(queue: Queue, database: Database) -> None:
    forgetful = Claimer(database, keep_finished=False)
    queue.enqueue([envelope()])

    assert forgetful.settle(Finish(forgetful.claim_one(), result="[1]")) == []
    assert rows(database) == 0


@on_sqlite
def test_a_job_knows_nothing_of_its_own_result() -> None:
    found: list[object] = []

    @job(name="looks", keep_result=True)
    def looks() -> int:
        running = current_job()
        assert running is not None
        with pytest.raises(NoResult, match="runs, and has no result"):
            stored_jobs().result(running.id)
        found.append(running)
        return 1

    looks.perform_later()
    testing.drain()

    assert found
