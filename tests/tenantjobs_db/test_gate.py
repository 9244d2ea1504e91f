"""Jobs wait in the table, and only as many as may go through to the queue of a broker, whose workers perform them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import literal, select, update

from tenantjobs import (
    Current,
    current_job,
    execution,
    gate,
    job,
    limits_concurrency,
    perform_all_later,
    retry_on,
    runtime,
    testing,
)
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.config import Misconfigured
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError, PartlyEnqueued, UnknownJob
from tenantjobs_db import embedded
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.admitting import Admitting, broker_id
from tenantjobs_db.alarm import Alarm
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.database import Database, own
from tenantjobs_db.gate import DatabaseGate, Presence
from tenantjobs_db.processes import Processes
from tenantjobs_db.publishing import Publishing
from tenantjobs_db.queue import Queue
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Finish
from tenantjobs_db.settling import Settling
from tenantjobs_db.tables import jobs
from tests.tenantjobs_db.making import LONG_AGO, envelope, let_come_due, let_expire
from tests.tenantjobs_db.test_alarm import SLEEPERS, WOKEN
from tests.tenantjobs_db.test_embedding import until

performed: list[str] = []
entries: dict[str, Any] = {}


class Broker:
    """Has what it was sent, and takes none of what is called ``refused``."""

    capabilities = Capabilities(bulk=True)

    def __init__(self) -> None:
        self.messages: list[Envelope] = []
        self.down = False

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        if self.down:
            raise OSError("nobody answers")
        if any("refused" in envelope.name for envelope in envelopes):
            raise EnqueueError("the broker has no such queue")
        self.messages += envelopes

    def close(self) -> None: ...

    def work(self, _options: object) -> int:
        return 0


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(gate, "target", lambda: broker)
    return broker


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    performed.clear()

    @job(name="gated.work")
    def work(what: str = "work") -> None:
        performed.append(f"{Current.tenant_id}: {what}")

    @job(name="gated.flaky", policies=[retry_on(ValueError, wait=60, attempts=2)])
    def flaky() -> None:
        running = current_job()
        performed.append(f"attempt {running and running.attempt}")
        raise ValueError("not yet")

    @job(name="gated.limited", policies=[limits_concurrency(to=1)])
    def limited() -> None:
        performed.append("limited")

    @job(name="gated.refused")
    def refused() -> None: ...

    entries.update(work=work, flaky=flaky, limited=limited, refused=refused)


@pytest.fixture
def queue(adapter: DatabaseAdapter, broker: Broker) -> Iterator[DatabaseAdapter]:
    with testing.override(gate={"adapter": "rq", "depth": 4}):
        yield adapter


@pytest.fixture
def publishing(queue: DatabaseAdapter) -> Iterator[Publishing]:
    yield Publishing(_admitting(queue))
    queue.gate.leave()


def _admitting(queue: DatabaseAdapter, reserve: float = 0.2) -> Admitting:
    settings = gate.settings()
    assert settings is not None
    admitting = Admitting(queue.database, Selection(["*"]), settings, keep_finished=True, reserve=reserve)
    admitting.beat()
    return admitting


def _later(name: str, tenant: str = "acme", count: int = 1, *args: object) -> None:
    with Current.set(tenant_id=tenant):
        perform_all_later([entries[name].call(*args) for _ in range(count)])


def _deliver(broker: Broker, *which: int) -> None:
    """The broker's worker is given messages."""
    for number in which or range(len(broker.messages)):
        execution.perform(broker.messages[number].encode())


def _age(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.claimed_by.is_not(None)).values(claimed_at=LONG_AGO))


@pytest.mark.parity("1b.41")
def test_the_broker_has_no_more_than_its_depth(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work", count=10)

    assert [publishing.publish(), publishing.publish()] == [4, 0]
    assert queue.queue.counts() == {"ready": 6, "claimed": 4}


def test_what_has_ended_makes_room(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work", count=10)
    publishing.publish()
    _deliver(broker, 0, 1)

    assert publishing.publish() == 2
    assert queue.queue.counts() == {"ready": 4, "claimed": 4, "finished": 2}


@pytest.mark.parity("1b.41")
def test_tenants_take_turns_at_the_gate(publishing: Publishing, broker: Broker) -> None:
    _later("work", "noisy", count=50)
    for tenant in ("small", "tiny"):
        _later("work", tenant)
    publishing.publish()

    assert Counter(message.tenant_id for message in broker.messages) == {"noisy": 2, "small": 1, "tiny": 1}


def test_the_turns_at_the_gate_are_weighed_by_what_jobs_cost(queue: DatabaseAdapter, broker: Broker) -> None:
    admitting = _admitting(queue, reserve=0.0)
    admitting.learn()
    for tenant in ("slow", "quick"):
        _later("work", tenant, count=20)
    assert Counter(claim.tenant for claim in admitting.admit()) == {"slow": 2, "quick": 2}

    now, after = queue.database.dialect.now(), queue.database.dialect.after
    with queue.database.begin() as connection:
        ended = update(jobs).where(jobs.c.state == "claimed").values(finished_at=now, claimed_by=None, state="finished")
        for tenant, seconds in (("slow", 10.0), ("quick", 0.1)):
            connection.execute(ended.where(jobs.c.tenant == tenant).values(claimed_at=after(literal(-seconds))))
    admitting.learn()
    again = [claim.tenant for _ in range(3) for claim in _served(queue, admitting)]

    assert Counter(again) == {"slow": 1, "quick": 11}


def _served(queue: DatabaseAdapter, admitting: Admitting) -> list[Claimed]:
    """What goes through now, and has ended at once."""
    claims = admitting.admit()
    admitting.exchange(admitting.broker, [Finish(claim) for claim in claims])
    return claims


def test_no_tenant_has_the_whole_depth_once_others_are_known(publishing: Publishing, broker: Broker) -> None:
    _later("work", "small")
    _later("work", "noisy", count=50)
    publishing.publish()
    _deliver(broker)
    publishing.publish()

    assert [message.tenant_id for message in broker.messages[4:]] == ["noisy"] * 3


@pytest.mark.parity("1b.41")
def test_a_ticket_carries_nothing_of_the_job(publishing: Publishing, broker: Broker) -> None:
    _later("work", "acme", 1, "a secret")
    publishing.publish()
    (message,) = broker.messages

    assert (message.name, message.tenant_id, message.priority) == ("gate:gated.work", "acme", 0)
    assert b"secret" not in message.encode()


def test_a_second_message_has_no_effect(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work")
    publishing.publish()
    _deliver(broker, 0, 0)

    assert performed == ["acme: work"]
    assert queue.queue.counts() == {"finished": 1}


def test_a_retry_waits_in_the_table(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("flaky")
    publishing.publish()
    _deliver(broker)
    assert queue.queue.counts() == {"scheduled": 1}
    assert publishing.publish() == 0

    let_come_due(queue.database)
    queue.queue.promote()
    publishing.publish()
    _deliver(broker, 1)

    assert performed == ["attempt 1", "attempt 2"]
    assert queue.queue.counts() == {"failed": 1}


@pytest.mark.parity("1b.41")
def test_a_lost_message_is_published_again(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work")
    publishing.publish()
    publishing.take_back()
    assert queue.queue.counts() == {"claimed": 1}

    _age(queue.database)
    publishing.take_back()
    publishing.publish()
    _deliver(broker)  # the first one was only late

    assert len(broker.messages) == 2
    assert performed == ["acme: work"]
    assert queue.queue.counts() == {"finished": 1}


def test_what_runs_for_long_is_not_lost(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work")
    publishing.publish()
    with queue.database.begin() as connection:
        connection.execute(update(jobs).values(claimed_by="somebody", claimed_at=LONG_AGO))
    publishing.take_back()

    assert queue.queue.counts() == {"claimed": 1}


def test_a_job_whose_worker_died_goes_through_the_gate_again(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("work")
    publishing.publish()
    with queue.database.begin() as connection:
        connection.execute(update(jobs).values(claimed_by="somebody who is no more"))
    Processes(queue.database, lease=60.0, max_deaths=3).reap()
    _deliver(broker, 0)  # the broker delivers the message of the dead once more: too early
    assert performed == []

    publishing.publish()
    _deliver(broker, 1)

    assert performed == ["acme: work"]


def test_a_job_that_was_taken_over_without_an_answer_comes_back(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = DatabaseGate._taken

    def unanswered(self: DatabaseGate, job_id: str, presence: Presence) -> None:
        take(self, job_id, presence)
        raise OSError("the connection was lost")

    _later("work")
    publishing.publish()
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseGate, "_taken", unanswered)
        with pytest.raises(OSError, match="connection was lost"):
            _deliver(broker)
    queue.gate._here().catch_up()

    assert queue.queue.counts() == {"ready": 1}


def test_a_verdict_that_could_not_be_written_is_written_later(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_args: object) -> None:
        raise OSError("nobody answers")

    _later("work")
    publishing.publish()
    with monkeypatch.context() as patch:
        patch.setattr(Settling, "settle", down)
        _deliver(broker)
        assert queue.queue.counts() == {"claimed": 1}
    queue.gate._here().catch_up()

    assert performed == ["acme: work"]
    assert queue.queue.counts() == {"finished": 1}


def test_a_broker_that_is_down_costs_nothing(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work", count=2)
    broker.down = True
    with pytest.raises(OSError, match="nobody answers"):
        publishing.publish()
    assert queue.queue.counts() == {"ready": 2}

    broker.down = False
    publishing.publish()
    _deliver(broker)

    assert queue.queue.counts() == {"finished": 2}


def test_a_job_that_no_broker_takes_fails_alone(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("refused")
    _later("work")
    publishing.publish()

    assert [message.name for message in broker.messages] == ["gate:gated.work"]
    assert queue.queue.counts() == {"failed": 1, "claimed": 1}


def test_some_of_many_that_were_not_sent_wait_on(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(envelopes: Sequence[Envelope]) -> None:
        broker.messages += envelopes[:1]
        raise PartlyEnqueued({envelope.id: OSError("it went away") for envelope in envelopes[1:]})

    monkeypatch.setattr(broker, "enqueue_all", half)
    _later("work", count=3)

    assert publishing.publish() == 1
    assert queue.queue.counts() == {"ready": 2, "claimed": 1}


@pytest.mark.parity("1b.41")
def test_caps_and_pauses_hold_at_the_gate(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    queue.controls.set_cap("capped", 1)
    queue.controls.pause("tenant", "paused")
    for tenant in ("capped", "paused", "other"):
        _later("work", tenant, count=2)
    publishing.publish()

    assert sorted(str(message.tenant_id) for message in broker.messages) == ["capped", "other", "other"]


def test_a_job_that_is_cancelled_in_the_broker_is_not_begun(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("work")
    publishing.publish()
    cancelling = Cancelling(queue.database)
    with queue.database.begin() as connection:
        cancelling.note(connection, connection.execute(select(jobs)).all())
    _deliver(broker)

    assert performed == []
    assert cancelling.take_back() == [broker.messages[0].id]


def test_a_ticket_of_a_tenant_that_was_purged_meanwhile_performs_nothing(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("work")
    publishing.publish()
    queue.purges.purge("acme", while_running=True)

    _deliver(broker)

    assert performed == []
    assert queue.queue.counts() == {}


def test_a_limited_job_goes_through_when_the_one_before_has_ended(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("limited", count=2)
    publishing.publish()
    assert len(broker.messages) == 1

    _deliver(broker)
    publishing.publish()
    _deliver(broker, 1)

    assert performed == ["limited", "limited"]


def test_a_job_in_the_broker_says_that_it_waits_there(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("work")
    publishing.publish()
    job_id = broker.messages[0].id
    explained, shown = queue.explain(job_id), queue.show(job_id)
    assert explained is not None
    assert shown is not None

    assert [(reason.kind, reason.of) for reason in explained.reasons] == [("broker", "rq")]
    assert shown.worker is None
    assert str(shown.waits_for).startswith("a worker of rq, which has had it since ")


def test_a_gate_runs_inside_another_process(queue: DatabaseAdapter, broker: Broker) -> None:
    _later("work", count=5)
    with embedded(polling_interval=0.02):
        until(lambda: len(broker.messages) == 4)


def test_two_gates_keep_to_one_depth(queue: DatabaseAdapter, broker: Broker) -> None:
    one, other = _admitting(queue), _admitting(queue)
    _later("work", count=10)

    assert len(one.admit()) + len(other.admit()) == 4


def test_the_depth_of_a_queue_may_be_another(adapter: DatabaseAdapter, broker: Broker) -> None:
    with testing.override(gate={"adapter": "rq", "depth": 4, "depths": {"default": 2}}):
        publishing = Publishing(_admitting(adapter))
        _later("work", count=10)

        assert publishing.publish() == 2


def test_the_broker_is_no_process_that_dies(queue: DatabaseAdapter, publishing: Publishing, broker: Broker) -> None:
    _later("work")
    publishing.publish()
    reaped = Processes(queue.database, lease=60.0, max_deaths=3).reap()

    assert reaped.given_back == ()
    assert broker_id("rq") in {process.id for process in queue.processes()}


def test_without_the_section_what_the_broker_had_comes_back(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    _later("work")
    publishing.publish()
    let_expire(queue.database, broker_id("rq"))
    Processes(queue.database, lease=60.0, max_deaths=3).reap()

    assert queue.queue.counts() == {"ready": 1}


def test_a_worker_that_knows_of_no_gate_runs_no_ticket(adapter: DatabaseAdapter) -> None:
    ticket = gate.ticket("1", "gated.work", queue="default", tenant="acme", number=0)

    with pytest.raises(UnknownJob, match=r"gate:gated\.work"):
        execution.perform(ticket.encode())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"adapter": "rq", "rq": {"url": "redis://"}, "gate": {"adapter": "celery"}}, 'write adapter = "db"'),
        ({"adapter": "db", "gate": {"adapter": "db"}}, "name the broker that they go to"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(changed: dict[str, object], message: str) -> None:
    with testing.override(**changed), pytest.raises(ConfigurationError, match=message):
        gate.settings()


def test_a_gate_to_a_queue_without_workers_is_refused() -> None:
    with (
        testing.override(adapter="db", gate={"adapter": "inline"}),
        pytest.raises(ConfigurationError, match="has no workers"),
    ):
        gate.workers()


def test_an_unknown_option_is_refused() -> None:
    with (
        testing.override(gate={"adapter": "rq", "dept": 3}),
        pytest.raises(Misconfigured, match="depth"),
    ):
        runtime.settings()


@pytest.mark.parametrize("url", WOKEN, indirect=True)
def test_a_gate_that_has_nothing_to_let_through_is_woken_by_jobs_of_other_processes(
    queue: DatabaseAdapter, broker: Broker, url: str
) -> None:
    options = WorkOptions(polling_interval=30.0)
    service = queue.workplace.worker(options)
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    try:
        until(lambda: _is_watched(queue.database), seconds=10)
        with closing(own(url)) as elsewhere:
            Queue(elsewhere).enqueue([envelope(name="gated.work")])
        until(lambda: len(broker.messages) == 1, seconds=10)
    finally:
        service.stop()
        thread.join(15)
    assert not thread.is_alive()


def _is_watched(database: Database) -> bool:
    """Whether somebody sleeps; where that cannot be seen, it is so soon enough."""
    if database.embedded:
        return True
    with database.begin() as connection:
        return connection.execute(SLEEPERS).first() is not None


def test_who_finds_the_broker_full_need_not_be_called(
    queue: DatabaseAdapter, publishing: Publishing, broker: Broker
) -> None:
    heard: list[str] = []

    class Told(Alarm):
        def rest(self) -> None:
            heard.append("rests")

        def stir(self) -> None:
            heard.append("stirs")

    publishing.alarm = Told()
    publishing.work()
    _later("work", count=5)  # one more than its depth
    publishing.work()
    publishing.work()

    assert heard == ["rests", "stirs", "stirs"]
