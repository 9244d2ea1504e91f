"""Why does this job wait?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenantjobs import job, limits_concurrency
from tenantjobs.adapter import WorkOptions
from tenantjobs.limits import KEY
from tenantjobs.view import Explanation, Reason
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.lease import Lease
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Reserve
from tenantjobs_db.serving import Serving
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, soon

Explain = Callable[[str], Explanation]


@pytest.fixture
def explain(database: Database) -> Explain:
    def explain(job_id: str) -> Explanation:
        found = Explaining(database).explain(job_id)
        assert found is not None
        return found

    return explain


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    @job(name="noop")
    def noop(number: int = 0) -> None: ...

    @job(name="one", policies=[limits_concurrency(to=1)])
    def one(number: int = 0) -> None: ...


def reason(explanation: Explanation) -> Reason:
    (only,) = explanation.reasons
    return only


def test_one_that_nobody_serves(database: Database, queue: Queue, explain: Explain) -> None:
    waiting = envelope(queue="mailers")
    queue.enqueue([waiting])

    assert reason(explain(waiting.id)).text == "a worker: none is running"

    lease = Lease(Processes(database, lease=60.0, max_deaths=3), 60.0)
    lease.begin()
    Serving(database, lease, WorkOptions(queues=("low", "report*")), Reserve(3, 0.2)).tell()

    assert reason(explain(waiting.id)) == Reason(
        kind="no_worker", text="a worker: none serves the queue mailers", of="mailers"
    )


@pytest.mark.parity("1b.43")
def test_its_place_in_the_line_of_its_tenant(queue: Queue, claimer: Claimer, explain: Explain) -> None:
    first, urgent, last = envelope(), envelope(priority=-1), envelope()
    queue.enqueue([first, urgent, last, *envelopes(5, "another")])

    assert [reason(explain(each.id)).ahead for each in (urgent, first, last)] == [0, 1, 2]
    assert reason(explain(last.id)).text == "its turn in the queue default: 2 of tenant acme before it"


def test_every_pause_with_what_was_said_about_it(
    database: Database, queue: Queue, claimer: Claimer, explain: Explain
) -> None:
    waiting = envelope()
    queue.enqueue([waiting])
    controls = Controls(database)
    controls.pause("queue", "default", reason="the mail server is moved")
    controls.pause("tenant", "acme")

    of_queue, of_tenant, turn = explain(waiting.id).reasons

    assert (of_queue.kind, of_queue.of, of_tenant.kind, of_tenant.of) == ("paused", "default", "paused", "acme")
    assert of_queue.text.endswith("UTC (the mail server is moved)")
    assert turn.kind == "turn"


def test_a_class_that_is_paused(database: Database, queue: Queue, claimer: Claimer, explain: Explain) -> None:
    waiting = envelope()
    queue.enqueue([waiting])
    Controls(database).pause("job", "noop", reason="a bug")
    assert claimer.claim(1) == []

    found = explain(waiting.id)

    assert found.state == "blocked"
    assert (reason(found).kind, reason(found).of) == ("paused", "noop")
    assert reason(found).text.endswith("(a bug)")


@pytest.mark.parity("1b.43")
def test_a_cap_that_is_reached_and_by_whom(
    database: Database, queue: Queue, claimer: Claimer, explain: Explain
) -> None:
    running, waiting = jobs = envelopes(2)
    queue.enqueue(jobs)
    Controls(database).set_cap("acme", 1)
    claimer.claim(2)

    cap, turn = explain(waiting.id).reasons

    assert (cap.kind, cap.by, turn.kind) == ("cap", (running.id,), "turn")
    assert cap.text == f"the cap of tenant acme: 1 of 1 running, {running.id}"


def test_the_permit_that_another_job_holds(queue: Queue, claimer: Claimer, explain: Explain) -> None:
    running, waiting = jobs = envelopes(2, name="one", keys={KEY: "k"})
    queue.enqueue(jobs)
    claimer.claim(2)

    found = reason(explain(waiting.id))

    assert (found.kind, found.of, found.by, found.ahead) == ("permit", "k", (running.id,), 0)


def test_its_time(queue: Queue, explain: Explain) -> None:
    later = envelope(due_at=soon())
    queue.enqueue([later])

    found = reason(explain(later.id))

    assert (found.kind, found.until) == ("due", later.due_at)


def test_one_that_runs_or_is_over_waits_for_nothing(
    database: Database, queue: Queue, claimer: Claimer, explain: Explain
) -> None:
    queue.enqueue([envelope()])
    claims = claimer.claim(1)
    assert not explain(claims[0].id).waits

    claimer.finish(claims)

    assert not explain(claims[0].id).waits
    assert Explaining(database).explain("no-such-job") is None
