"""What operators say of a queue, a tenant and a job: it holds from the next claim of any worker on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from tenantjobs import job
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.controls import Control, Controls
from tenantjobs_db.database import Database, own
from tenantjobs_db.outbox_rows import OutboxRows
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.queue import Queue
from tenantjobs_db.releasing import Releasing
from tenantjobs_db.settlement import Claimed, Finish
from tests.tenantjobs_db.making import LONG_AGO, Claimer, envelope, envelopes, soon


@pytest.fixture
def controls(database: Database) -> Controls:
    return Controls(database)


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    @job(name="noop")
    def noop(number: int = 0) -> None: ...

    @job(name="report", aliases=("old.report",))
    def report(number: int = 0) -> None: ...


def tenants(claims: list[Claimed]) -> list[str]:
    return sorted(claim.tenant for claim in claims)


# Pauses
@pytest.mark.parity("1b.35")
def test_a_paused_queue_takes_jobs_and_starts_none(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    controls.pause("queue", "mailers")
    queue.enqueue([envelope(queue="mailers"), envelope(queue="other")])

    assert [claim.queue for claim in claimer.claim(5)] == ["other"]
    assert queue.counts() == {"ready": 1, "claimed": 1}


def test_a_resumed_queue_goes_on_with_the_next_claim(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    queue.enqueue(envelopes(3))
    controls.pause("queue", "default")
    assert claimer.claim(5) == []

    controls.resume("queue", "default")

    assert len(claimer.claim(5)) == 3


def test_a_pause_holds_for_a_worker_that_has_claimed_before(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    queue.enqueue([*envelopes(5, "a"), *envelopes(5, "b")])
    claimer.claim(2)

    controls.pause("tenant", "a")

    assert tenants(claimer.claim(10)) == ["b"] * 4


def test_a_paused_tenant_does_not_keep_the_others_from_their_turns(
    queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    for tenant in "abcde":
        queue.enqueue(envelopes(4, tenant))
    for tenant in "abd":
        controls.pause("tenant", tenant)

    assert [claimer.claim_one().tenant for _ in range(4)] == ["c", "e", "c", "e"]
    assert tenants(claimer.claim(10)) == ["c", "c", "e", "e"]


def test_only_paused_tenants_with_work_leave_nothing_to_claim(
    queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    for tenant in "abc":
        queue.enqueue(envelopes(2, tenant))
        controls.pause("tenant", tenant)

    assert claimer.claim(2) == []


def test_the_jobs_of_a_paused_class_are_put_aside_and_come_back_in_their_order(
    database: Database, queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    reports = envelopes(300, name="report")
    others = envelopes(3)
    queue.enqueue(reports)
    queue.enqueue(others)
    controls.pause("job", "report")

    assert [claim.id for claim in claimer.claim(10)] == [each.id for each in others]
    assert queue.counts()["blocked"] == 300

    controls.resume("job", "report")

    assert [claim.id for claim in claimer.claim(10)] == [each.id for each in reports[:10]]
    assert _waiting(database) == 0


def test_a_job_that_was_put_aside_has_not_started(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    controls.pause("job", "report")
    queue.enqueue(envelopes(2, name="report"))
    claimer.claim(1)
    controls.resume("job", "report")

    assert [claim.fence for claim in claimer.claim(5)] == [1, 1]


def test_a_pause_of_a_class_holds_for_its_older_names(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    controls.pause("job", "old.report")
    queue.enqueue([envelope(name="old.report"), envelope(name="report")])

    assert claimer.claim(5) == []
    controls.resume("job", "report")
    assert len(claimer.claim(5)) == 2


def test_a_tenant_whose_next_job_is_of_a_paused_class_has_its_turn_all_the_same(
    queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    controls.pause("job", "report")
    claimer.claim(1)  # knows of the class from now on
    queue.enqueue([envelope("a", name="old.report"), *envelopes(2, "a"), *envelopes(3, "b")])

    assert [claimer.claim_one().tenant for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_second_paused_class_holds_from_the_next_claim_on(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    controls.pause("job", "report")
    claimer.claim(1)
    queue.enqueue(envelopes(3))
    controls.pause("job", "noop")

    assert claimer.claim(5) == []
    controls.resume("job", "noop")
    assert len(claimer.claim(5)) == 3


def test_the_first_of_several_queues_is_claimed_from_although_a_paused_job_is_in_the_way(
    database: Database, queue: Queue, controls: Controls
) -> None:
    claimer = Claimer(database, "critical", "default")
    controls.pause("job", "report")
    claimer.claim(1)
    queue.enqueue([envelope(name="report", queue="critical"), envelope(queue="critical"), envelope()])

    assert claimer.claim_one().queue == "critical"


def test_what_was_put_aside_while_its_class_was_resumed_is_let_out_by_the_safety_net(
    database: Database, queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    controls.pause("job", "report")
    queue.enqueue(envelopes(3, name="report"))
    claimer.claim(1)
    net = Releasing(database)
    assert net.release() == 0
    with database.begin() as connection:  # as a claim would find it that had read before the resumption
        connection.execute(tables.controls.delete())

    assert net.release() == 3
    assert len(claimer.claim(5)) == 3


@pytest.mark.parity("1b.35")
def test_pausing_and_resuming_twice_is_once(controls: Controls) -> None:
    assert controls.pause("tenant", "acme", reason="unpaid") is True
    assert controls.pause("tenant", "acme") is False
    found = controls.find("tenant", "acme")
    assert found is not None
    assert (found.paused, found.reason) == (True, "unpaid")

    assert controls.resume("tenant", "acme") is True
    assert controls.resume("tenant", "acme") is False
    assert controls.all() == []


def test_a_tenant_is_the_same_by_number_and_text(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    controls.pause("tenant", 42)  # type: ignore[arg-type]  # as an id comes from a table
    queue.enqueue([envelope("42")])

    assert claimer.claim(1) == []


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("worker", "w", "one of queue, tenant, job"),
        ("queue", " ", "no name of a queue"),
        ("job", "reprt", "did you mean 'report'"),
    ],
)
def test_what_cannot_be_paused_is_refused(controls: Controls, kind: str, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        controls.pause(kind, name)  # type: ignore[arg-type]  # as it is typed


def test_no_tenant_cannot_be_paused(controls: Controls) -> None:
    with pytest.raises(ValueError, match="cannot be the id of a tenant"):
        controls.pause("tenant", "")


def test_many_paused_jobs_cost_a_claim_one_probe(
    database: Database, queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    """A claim reads as many rows whether the paused tenant before the others has ten jobs or thousands."""
    queue.enqueue([*envelopes(3000, "a"), *envelopes(20, "b")])
    queue.enqueue(envelopes(400, name="report", tenant="c"))
    controls.pause("tenant", "a")
    controls.pause("job", "report")
    claimer.claim(5)  # puts the class aside
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    claims = claimer.claim(5)

    assert tenants(claims) == ["b"] * 5
    assert len(statements) <= (8 if database.dialect.skip_scans else 16)  # where each probe is one
    assert not [each for each in statements if "tj_blocked" in each]


@pytest.mark.postgres
def test_on_postgresql_a_claim_is_one_statement_while_a_class_is_paused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = own(postgres_url)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
        connection.execute(text("DELETE FROM tj_controls"))
    controls, claimer = Controls(database), Claimer(database)
    controls.pause("job", "report")
    Queue(database).enqueue([*envelopes(10, name="report"), *envelopes(10)])
    put_aside = claimer.claim(1)
    answered = Prepared.rows
    statements: list[str] = []

    def rows(statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any]:
        statements.append(statement._text)
        return answered(statement, values)

    monkeypatch.setattr(Prepared, "rows", rows)
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    claims = claimer.consumer.exchange(claimer.process, [Finish(put_aside[0])], 5).claimed

    assert tenants(claims) == ["acme"] * 5
    assert len([each for each in statements if "tj_controls" in each]) == 1
    controls.resume("job", "report")
    database.close()


# Weights


def test_a_tenant_of_weight_four_gets_four_jobs_where_another_gets_one(
    queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    for number, tenant in enumerate("abcd", 1):
        queue.enqueue(envelopes(200, tenant))
        controls.set_weight(tenant, number)

    assert Counter(tenants(claimer.claim(100))) == {"a": 10, "b": 20, "c": 30, "d": 40}


@pytest.mark.parametrize("wanted", [1, 3, 7])
def test_weights_hold_however_many_are_claimed_at_once(
    queue: Queue, claimer: Claimer, controls: Controls, wanted: int
) -> None:
    for tenant, weight in [("a", 2.5), ("b", 1.0), ("c", 0.5)]:
        queue.enqueue(envelopes(200, tenant))
        controls.set_weight(tenant, weight)
    claimed = Counter[str]()
    while claimed.total() < 168:
        claimed.update(tenants(claimer.claim(min(wanted, 168 - claimed.total()))))

    assert claimed["a"] == pytest.approx(105, abs=3)
    assert claimed["b"] == pytest.approx(42, abs=2)
    assert claimed["c"] == pytest.approx(21, abs=2)


def test_a_weight_ends_with_none(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    queue.enqueue([*envelopes(20, "a"), *envelopes(20, "b")])
    controls.set_weight("a", 5)
    controls.set_weight("a", None)

    assert controls.all() == []
    assert Counter(tenants(claimer.claim(10))) == {"a": 5, "b": 5}


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), 1e9, True, "4"])
def test_a_weight_that_would_upset_the_turns_is_refused(controls: Controls, weight: float) -> None:
    with pytest.raises(ConfigurationError, match=r"from 0\.01 to 100"):
        controls.set_weight("acme", weight)


# Caps


def test_no_more_jobs_of_a_capped_tenant_run_than_its_cap(queue: Queue, database: Database, controls: Controls) -> None:
    queue.enqueue([*envelopes(20, "a"), *envelopes(20, "b")])
    controls.set_cap("a", 3)
    one, other = Claimer(database), Claimer(database)

    claims = one.claim(10)
    assert Counter(tenants(claims)) == {"a": 3, "b": 7}
    assert Counter(tenants(other.claim(10))) == {"b": 10}

    one.finish([claim for claim in claims if claim.tenant == "a"][:2])
    assert Counter(tenants(other.claim(4)))["a"] == 2


def test_tenants_at_their_cap_do_not_hide_those_behind_them(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    for number in range(30):
        queue.enqueue(envelopes(2, f"t{number:02}"))
        controls.set_cap(f"t{number:02}", 1)
    assert len(claimer.claim(30)) == 30
    queue.enqueue([envelope("t99")])

    assert claimer.claim_one().tenant == "t99"
    assert claimer.claim(1) == []


@pytest.mark.parametrize("cap", [0, -1, 1.5, True])
def test_a_cap_is_a_whole_number_from_one_on(controls: Controls, cap: int) -> None:
    with pytest.raises(ConfigurationError, match="whole number from 1"):
        controls.set_cap("acme", cap)


def test_claimers_at_once_never_go_over_a_cap(database: Database, queue: Queue, controls: Controls) -> None:
    queue.enqueue([*envelopes(60, "a"), *envelopes(60, "b")])
    controls.set_cap("a", 2)
    running, most, ended = Counter[str](), Counter[str](), []
    counting = threading.Lock()
    until = time.monotonic() + 20

    def work() -> None:
        claimer = Claimer(database)
        claims: list[Claimed] = []
        while len(ended) < 120 and time.monotonic() < until:
            claims = claimer.consumer.exchange(claimer.process, [Finish(claim) for claim in claims], 3).claimed
            with counting:
                running.update(claim.tenant for claim in claims)
                most.update({tenant: max(0, running[tenant] - most[tenant]) for tenant in running})
            time.sleep(0.001)
            with counting:
                running.subtract(claim.tenant for claim in claims)
                ended.extend(claim.id for claim in claims)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(ended)) == len(ended) == 120
    assert most["a"] == 2
    assert most["b"] > 2


# Rates


def test_no_more_jobs_of_a_tenant_start_than_its_rate(queue: Queue, claimer: Claimer, controls: Controls) -> None:
    queue.enqueue([*envelopes(20, "a"), *envelopes(20, "b")])
    controls.set_rate("a", 3, per=3600)

    claims = claimer.claim(10)
    claimer.finish(claims)

    assert Counter(tenants(claims)) == {"a": 3, "b": 7}
    assert Counter(tenants(claimer.claim(10))) == {"b": 10}
    assert queue.counts()["ready"] == 20


def test_a_tenant_out_of_its_rate_starts_again_when_its_time_has_come(
    database: Database, queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    queue.enqueue(envelopes(6, "a"))
    controls.set_rate("a", 2, per=3600)
    assert len(claimer.claim(5)) == 2
    with database.begin() as connection:
        connection.execute(tables.starts.update().values(started_at=LONG_AGO))

    assert len(claimer.claim(5)) == 2


def test_a_paused_job_of_a_rated_tenant_is_no_start(
    database: Database, queue: Queue, claimer: Claimer, controls: Controls
) -> None:
    queue.enqueue([*envelopes(5, "a", name="report"), *envelopes(3, "a")])
    controls.pause("job", "report")
    controls.set_rate("a", 2, per=3600)

    assert [claim.name for claim in claimer.claim(5)] == ["noop", "noop"]


@pytest.mark.parametrize(("to", "per"), [(0, 60), (1.5, 60), (3, 0), (3, float("nan")), (100_000, 60)])
def test_what_is_no_rate_is_refused(controls: Controls, to: int, per: float) -> None:
    with pytest.raises(ConfigurationError, match="a rate"):
        controls.set_rate("acme", to, per)


def test_claimers_at_once_never_go_over_a_rate(database: Database, queue: Queue, controls: Controls) -> None:
    queue.enqueue([*envelopes(40, "a"), *envelopes(40, "b")])
    controls.set_rate("a", 7, per=3600)
    claimed: list[str] = []

    def work() -> None:
        claimer = Claimer(database)
        for _ in range(15):
            claimed.extend(tenants(claimer.claim(3)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(claimed)["a"] == 7


def test_the_adapter_has_them(adapter: DatabaseAdapter) -> None:
    adapter.controls.set_cap("acme", 3)

    assert adapter.controls.all() == [Control(kind="tenant", name="acme", cap=3)]


@pytest.fixture
def flooded(postgres_url: str) -> Iterator[Database]:
    """A hundred thousand jobs of one tenant before a few of another."""
    database = own(postgres_url)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
        connection.execute(text("DELETE FROM tj_controls"))
        connection.execute(
            text("""
                INSERT INTO tj_jobs (id, queue, tenant, name, priority, state, attempt, enqueued_at, data)
                SELECT 'job-' || n, 'default', CASE WHEN n <= 100000 THEN 'a' ELSE 'b' END, 'noop', 0, 'ready', 0,
                    now(), '{}'
                FROM generate_series(1, 100100) AS n
            """)
        )
    with database.autocommit() as connection:
        connection.execute(text("VACUUM ANALYZE tj_jobs"))
    yield database
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
        connection.execute(text("DELETE FROM tj_controls"))
    database.close()


@pytest.mark.postgres
def test_on_postgresql_the_jobs_of_a_paused_tenant_are_not_visited(flooded: Database) -> None:
    Controls(flooded).pause("tenant", "a")
    claimer = Claimer(flooded)
    before = _visited(flooded)

    claims = claimer.claim(10)

    assert tenants(claims) == ["b"] * 10
    assert _visited(flooded) - before < 1000


def _visited(database: Database) -> int:
    """Rows and index entries of jobs that all connections have read."""
    with database.autocommit() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    database.engine.dispose()  # what a connection has counted is known when it is closed, at the latest
    time.sleep(0.2)
    with database.autocommit() as connection:
        found = connection.execute(
            text(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relid = CAST('tj_jobs' AS regclass)"
            )
        ).scalar_one()
    return int(found)


def _waiting(database: Database) -> int:
    with database.begin() as connection:
        return len(connection.execute(select(tables.blocked.c.job_id)).all())


def test_a_line_is_counted_by_state_with_the_wait_of_its_first_job(adapter: DatabaseAdapter) -> None:
    adapter.enqueue_all([*envelopes(3, "acme", queue="mailers"), *envelopes(2, "globex"), *envelopes(1, None)])
    adapter.enqueue_all(envelopes(2, "acme", due_at=soon()))
    with adapter.database.begin() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.tenant == "globex").values(enqueued_at=LONG_AGO))

    by_tenant = {line.name: line for line in adapter.controls.lines("tenant")}
    assert [*by_tenant] == ["", "acme", "globex"]
    assert (by_tenant["acme"].ready, by_tenant["acme"].scheduled, by_tenant["globex"].ready) == (3, 2, 2)
    assert by_tenant["globex"].lag is not None
    assert by_tenant["globex"].lag > 10_000 > (by_tenant["acme"].lag or 0.0) >= 0.0
    assert [(line.name, line.ready) for line in adapter.controls.lines("queue")] == [("default", 3), ("mailers", 3)]


def test_what_lies_in_the_outbox_is_unfinished_too(adapter: DatabaseAdapter) -> None:
    adapter.enqueue(envelope("acme"))
    with adapter.database.begin() as connection:
        OutboxRows(adapter.database, lease=60).write(connection, [*envelopes(2, "acme"), envelope("globex")])

    acme = adapter.controls.line("tenant", "acme")
    assert (acme.ready, acme.outbox, acme.unfinished) == (1, 2, 3)
    assert adapter.controls.line("queue", "default").unfinished == 1
    assert [(line.name, line.outbox) for line in adapter.controls.lines("tenant")] == [("acme", 2), ("globex", 1)]
