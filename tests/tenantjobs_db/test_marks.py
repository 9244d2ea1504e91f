"""Claims that go on where the last one has ended, because looking for the heads of lines has become dear."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from tenantjobs_db import marks
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.marks import DEAR, DEAR_EACH, LOOKED_AROUND, MOST_LEVELS, SPARED, Marks
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Finish, GiveBack
from tenantjobs_db.turns import Turns
from tests.tenantjobs_db.making import Claimer, envelope, envelopes

MANY = 2 * DEAR  # entries of a look that finds a job or two
LONG = 0.1  # seconds that it takes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def claimed(*jobs: tuple[str, str] | tuple[str, str, int]) -> list[Claimed]:
    """Jobs by tenant and id, of priority 0 unless there is another."""
    return [
        Claimed(job[1], 1, "me", "q", "work", job[0], 0, "", priority=job[2] if len(job) == 3 else 0) for job in jobs
    ]


def in_use(clock: Clock, *found: tuple[str, str] | tuple[str, str, int]) -> Marks:
    """Marks at these jobs."""
    made = Marks(Turns(), clock)
    made.looked("q", MANY, LONG, claimed(*found))
    return made


def ranges(made: Marks, *tenants: str) -> list[tuple[str, str, str]]:
    found = made.lines("q", dict.fromkeys(tenants, 1))
    return [tuple(found[name] for name in ("priorities", "places", "below"))]  # type: ignore[list-item]  # three


def test_they_are_in_use_while_looks_are_dear_and_none_is_due() -> None:
    clock = Clock()
    made = Marks(Turns(), clock)
    assert not made.in_use("q")

    made.looked("q", MANY, LONG, [])
    assert made.in_use("q")
    assert not made.in_use("another")

    clock.now += SPARED * LONG
    assert not made.in_use("q")
    made.looked("q", MANY, LONG, [])
    assert made.in_use("q")
    made.looked("q", DEAR, LONG, [])
    assert not made.in_use("q")


def test_a_look_that_finds_many_jobs_reads_more() -> None:
    made = Marks(Turns(), Clock())
    found = claimed(*(("a", f"{number:03}") for number in range(100)))
    made.looked("q", DEAR + 100 * DEAR_EACH, LONG, found)

    assert not made.in_use("q")


def test_a_line_goes_on_behind_its_mark_and_has_a_range_for_what_is_more_urgent() -> None:
    made = in_use(Clock(), ("a", "07"))

    assert ranges(made, "a") == [("{-2147483648,0}", '{"","07"}', "{0,2147483648}")]


def test_each_priority_has_a_mark_of_its_own() -> None:
    made = in_use(Clock(), ("a", "05", -1), ("a", "03", 5))

    assert ranges(made, "a") == [("{-2147483648,-1,5}", '{"","05","03"}', "{-1,5,2147483648}")]


def test_a_tenant_with_too_many_priorities_is_looked_at_as_a_whole() -> None:
    jobs = [("a", f"{number}", number) for number in range(MOST_LEVELS + 1)]

    assert ranges(in_use(Clock(), *jobs), "a") == [("{-2147483648,8}", '{"","8"}', "{8,2147483648}")]


def test_tenants_take_turns_and_one_that_has_had_less_is_asked_for_little_more() -> None:
    made = in_use(Clock(), ("a", "1"), ("b", "1"))
    assert made.shares("q", 10, Rooms()) == {"a": 5, "b": 5}

    of_a = [("a", f"{number}") for number in range(2, 7)]
    assert made.claimed("q", {"a": 5, "b": 5}, claimed(*of_a, ("b", "2")))  # a may have more

    assert made.shares("q", 10, Rooms()) == {"a": 7, "b": 3}


def test_nothing_more_is_to_be_had_when_all_had_less_than_their_share() -> None:
    made = in_use(Clock(), ("a", "1"), ("b", "1"))

    assert not made.claimed("q", {"a": 5, "b": 5}, claimed(("a", "2")))


def test_a_tenant_has_no_more_than_its_room() -> None:
    made = in_use(Clock(), ("a", "1"), ("b", "1"))

    assert made.shares("q", 10, Rooms(8, {"a": 2})) == {"a": 2, "b": 8}


def test_tenants_that_are_not_known_are_looked_for_between_the_others_now_and_then() -> None:
    clock = Clock()
    made = in_use(clock, ("b", "1"), ("d", "1"))
    assert made.looks_around("q")
    assert made.gaps("q") == {
        "after": '{"","b"}',
        "behind": "{-2147483649,2147483648}",
        "before": '{"b","d"}',
        "last": "d",
    }

    made.met("q", ["c"], 0.0)
    assert made.looks_around("q")  # behind it there may be more
    made.met("q", [], 0.0)
    assert not made.looks_around("q")
    assert set(made.shares("q", 3, Rooms())) == {"b", "c", "d"}
    clock.now += LOOKED_AROUND
    assert made.looks_around("q")


# on the database


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every whole look is, and none is due again."""
    monkeypatch.setattr(marks, "DEAR", -1)
    monkeypatch.setattr(marks, "DEAR_EACH", 0)
    monkeypatch.setattr(marks, "SPARED", 0.0)
    monkeypatch.setattr(Marks, "in_use", lambda self, queue: queue in self._queues)
    monkeypatch.setattr(marks, "LOOKED_AROUND", 0.0)


@pytest.fixture
def patient(dear: None, postgres_database: Database) -> Claimer:
    """A claimer that uses its marks from its second claim on."""
    made = Claimer(postgres_database)
    made.consumer = Consumer(postgres_database, Selection(("*",)), patient=True)
    return made


@pytest.fixture
def postgres_database(database: Database) -> Database:
    if database.dialect.name != "postgresql":
        pytest.skip("nothing is in the way of a look there")
    return database


def ids(found: Sequence[Claimed]) -> list[str]:
    return [claim.id for claim in found]


def test_a_line_is_gone_through_in_its_order_and_settled_on_the_way(queue: Queue, patient: Claimer) -> None:
    jobs = envelopes(6)
    queue.enqueue(jobs)
    first = patient.claim(2)

    exchange = patient.consumer.exchange(patient.process, [Finish(claim) for claim in first], 3)

    assert ids(exchange.claimed) == [job.id for job in jobs[2:5]]
    assert exchange.refused == []
    assert queue.counts() == {"finished": 2, "claimed": 3, "ready": 1}


def test_a_tenant_that_comes_new_and_a_job_that_is_more_urgent_are_found(queue: Queue, patient: Claimer) -> None:
    queue.enqueue(envelopes(3, tenant="m"))
    patient.claim(1)
    strangers = [envelope(tenant) for tenant in ("a", "n", "z")]
    urgent = envelope("m", priority=-5)
    queue.enqueue([*strangers, urgent])

    found = [*patient.claim(3), *patient.claim(3)]

    assert [claim.tenant for claim in found[:3]].count("m") == 1
    assert {job.id for job in (*strangers, urgent)} < set(ids(found))


def test_those_who_are_paused_are_left_out(queue: Queue, patient: Claimer, database: Database) -> None:
    queue.enqueue([*envelopes(2, tenant="a"), *envelopes(2, tenant="b")])
    patient.claim(2)
    Controls(database).pause("tenant", "a")

    assert [claim.tenant for claim in patient.claim(2)] == ["b"]


def test_what_is_said_of_a_queue_holds(queue: Queue, patient: Claimer, database: Database) -> None:
    queue.enqueue(envelopes(3))
    patient.claim(1)
    Controls(database).pause("queue", "default")

    assert patient.claim(2) == []


def test_a_job_that_is_ready_again_behind_its_mark_is_found_by_the_next_whole_look(
    queue: Queue, patient: Claimer, claimer: Claimer
) -> None:
    jobs = envelopes(2)
    queue.enqueue(jobs)
    (first,) = patient.claim(1)
    patient.settle(GiveBack(first))

    assert ids(patient.claim(5)) == [jobs[1].id]
    assert patient.claim(1) == []  # as far as it can see
    assert ids(claimer.claim(1)) == [first.id]


def test_several_queues_are_gone_through_in_their_order(dear: None, queue: Queue, postgres_database: Database) -> None:
    claimer = Claimer(postgres_database)
    claimer.consumer = Consumer(postgres_database, Selection(("first", "second")), patient=True)
    jobs = {name: envelopes(4, queue=name) for name in ("second", "first")}
    queue.enqueue([*jobs["second"], *jobs["first"]])
    first = claimer.claim(1)

    found = [*first, *claimer.claim(5), *claimer.consumer.exchange(claimer.process, [Finish(first[0])], 2).claimed]

    assert ids(found) == [job.id for name in ("first", "second") for job in jobs[name]]


@pytest.mark.usefixtures("dear", "postgres_database")
def test_who_asks_once_for_all_looks_as_a_whole_before_there_is_nothing(queue: Queue, claimer: Claimer) -> None:
    jobs = envelopes(2)
    queue.enqueue(jobs)
    (first,) = claimer.claim(1)
    claimer.settle(GiveBack(first))

    assert ids([*claimer.claim(1), *claimer.claim(1)]) == [jobs[1].id, first.id]
    assert claimer.claim(1) == []


def test_what_is_somebody_elses_by_now_is_refused(queue: Queue, patient: Claimer) -> None:
    queue.enqueue(envelopes(3))
    late, ours = (Finish(claim) for claim in patient.claim(2))
    patient.settle(GiveBack(late.claim))

    assert patient.consumer.exchange(patient.process, [late, ours], 1).refused == [late]
    assert queue.counts()["finished"] == 1


@pytest.mark.postgres
def test_marks_are_used_as_soon_as_an_open_transaction_keeps_what_was_claimed_in_the_way(
    queue: Queue, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "SPARED", 1e6)
    claimer = Claimer(postgres_database)
    jobs = envelopes(MANY + 100)
    with postgres_database.begin() as report:
        report.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        report.execute(text("SELECT count(*) FROM tj_jobs"))
        queue.enqueue(jobs)
        in_order = ids(claimer.claim(1))
        claims = claimer.claim(MANY)
        in_order += ids(claims)
        for _ in range(2):
            claims = claimer.consumer.exchange(claimer.process, [Finish(claim) for claim in claims], 10).claimed
            in_order += ids(claims)
            are_used = claimer.consumer._claiming.marks.in_use("default")

    assert in_order == [job.id for job in jobs[: MANY + 21]]
    assert are_used
