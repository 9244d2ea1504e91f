"""Every way that a job takes through a real Redis and real worker processes, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.decorators import job as job_decorator
from rq.group import Group
from rq.job import Dependency, Job, JobStatus, requeue_job
from rq.registry import StartedJobRegistry
from rq.version import VERSION
from rq.worker import Worker

from tenantjobs import runtime
from tenantjobs.current import Current
from tests.tenantjobs_rq import servers, shop
from tests.tenantjobs_rq.servers import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

RELEASE = tuple(int(part) for part in VERSION.split(".")[:2])
HANDLER = ("--exception-handler", "tests.tenantjobs_rq.shop.handler")
WORKERS = {
    "fork": ("worker", "--with-scheduler", *HANDLER),
    "in process": ("worker", "--with-scheduler", "-w", "rq.worker.SimpleWorker", *HANDLER),
    "pool": ("worker-pool", "-n", "2"),
}
if RELEASE >= (3, 0):
    WORKERS["spawn"] = ("worker", "--with-scheduler", "-w", "rq.worker.SpawnWorker", *HANDLER)

only_with_scheduler = pytest.mark.parametrize("running", [name for name in WORKERS if name != "pool"], indirect=True)
only_with_handler = only_with_scheduler
only_with_horses = pytest.mark.parametrize("running", [name for name in WORKERS if name != "in process"], indirect=True)
only_unsigned = pytest.mark.skipif("TENANTJOBS_SIGNING_KEYS" in os.environ, reason="refused, whatever the policy is")
from_2_2 = pytest.mark.skipif(RELEASE < (2, 2), reason="RQ has it since 2.2")


@pytest.fixture(scope="module", params=WORKERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with servers.queue() as found:
        with servers.worker(found, tmp_path_factory.mktemp("rq") / "worker.log", *WORKERS[request.param]):
            yield found


@pytest.fixture
def here(running: Shop, install: Callable[..., None]) -> Iterator[Shop]:
    install()
    yield running

    assert [] == running.noted("residue")


# enqueueing


def test_enqueue(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who, 1, two=2, description="mine", meta={"color": "blue"})

    assert here.got(sent) == "acme"
    assert sent.get_meta() == {"color": "blue"}


def test_enqueue_by_name(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue("tests.tenantjobs_rq.shop.who")

    assert here.got(sent) == "acme"


def test_enqueue_call(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue_call(shop.who, args=(1,), kwargs={"two": 2}, timeout=10)

    assert here.got(sent) == "acme"


def test_create_then_enqueue_job(here: Shop, acme: Any) -> None:
    with acme:
        made = here.queue.create_job(shop.who)
    with Current.set(tenant_id="globex"):
        sent = here.queue.enqueue_job(made)

    assert here.got(sent) == "acme"


def test_at_front(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who, at_front=True)

    assert here.got(sent) == "acme"


def test_decorator(here: Shop, acme: Any) -> None:
    delay = job_decorator(here.queue, connection=here.connection)(shop.who).delay
    with acme:
        sent = delay()

    assert here.got(sent) == "acme"


def test_enqueue_many(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue_many(
            [Queue.prepare_data(shop.who), Queue.prepare_data("tests.tenantjobs_rq.shop.who")]
        )

    assert [here.got(each) for each in sent] == ["acme", "acme"]


def test_enqueue_many_in_a_pipeline(here: Shop, acme: Any) -> None:
    with here.connection.pipeline() as pipeline:
        with acme:
            sent = here.queue.enqueue_many([Queue.prepare_data(shop.who)], pipeline=pipeline)
        pipeline.execute()

    assert here.got(sent[0]) == "acme"


def test_enqueue_in_a_pipeline(here: Shop, acme: Any) -> None:
    with here.connection.pipeline() as pipeline:
        with acme:
            sent = here.queue.enqueue(shop.who, pipeline=pipeline)
        pipeline.execute()

    assert here.got(sent) == "acme"


def test_group(here: Shop, acme: Any) -> None:
    group = Group.create(here.connection, name=here.name)
    with acme:
        sent = group.enqueue_many(here.queue, [Queue.prepare_data(shop.who), Queue.prepare_data(shop.who)])

    assert [here.got(each) for each in sent] == ["acme", "acme"]


def test_several_tenants_at_once(here: Shop) -> None:
    sent = []
    for number in range(6):
        with Current.set(tenant_id=f"t{number % 3}"):
            sent.append(here.queue.enqueue(shop.who))

    assert [here.got(each) for each in sent] == ["t0", "t1", "t2"] * 2


def test_one_prepared_call_of_two_tenants(here: Shop) -> None:
    prepared, options = Queue.prepare_data(shop.who), {"meta": {"color": "blue"}, "retry": Retry(max=1)}
    sent = []
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            sent += [*here.queue.enqueue_many([prepared]), here.queue.enqueue(shop.who, **options)]

    assert [here.got(each) for each in sent] == ["acme", "acme", "globex", "globex"]
    assert options["meta"] == {"color": "blue"}


def test_system_scope(here: Shop) -> None:
    with Current.system("nightly cleanup"):
        sent = here.queue.enqueue(shop.who)

    assert here.got(sent) == "system"


def test_coroutine(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who_async)

    assert here.got(sent) == ["acme"] * 3


def test_children_enqueued_in_the_worker(here: Shop, acme: Any) -> None:
    with acme:
        children = here.got(here.queue.enqueue(shop.parent))

    assert [here.got(child) for child in children] == ["acme", "acme"]


def test_children_enqueued_from_another_scope_in_the_worker(here: Shop, acme: Any) -> None:
    with acme:
        (child,) = here.got(here.queue.enqueue(shop.switching_parent))

    assert here.got(child) == "globex"


def test_dependents(here: Shop, acme: Any) -> None:
    with acme:
        first = here.queue.enqueue(shop.who)
    with Current.set(tenant_id="globex"):
        second = here.queue.enqueue(shop.who, depends_on=first)
        many = here.queue.enqueue_many([Queue.prepare_data(shop.who, depends_on=first)])

    assert here.got(second) == "globex"
    assert here.got(many[0]) == "globex"


def test_dependents_of_a_failure(here: Shop, acme: Any) -> None:
    with acme:
        first = here.queue.enqueue(shop.failing)
        second = here.queue.enqueue(shop.who, depends_on=Dependency([first], allow_failure=True))

    assert here.got(second) == "acme"


def test_dependents_of_a_job_that_is_cancelled(here: Shop, acme: Any) -> None:
    with Current.set(tenant_id="globex"):
        first = here.queue.enqueue_in(timedelta(hours=1), shop.forbidden)
    with acme:
        second = here.queue.enqueue(shop.who, depends_on=first)
    with Current.set(tenant_id="globex"):
        first.cancel(enqueue_dependents=True)

    assert here.got(second) == "acme"
    probe(here)
    assert here.noted("forbidden") == []


# later


@only_with_scheduler
def test_enqueue_in(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue_in(timedelta(milliseconds=1), shop.who)

    assert here.got(sent) == "acme"


@only_with_scheduler
def test_enqueue_at(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue_at(datetime.now(UTC), shop.who)

    assert here.got(sent) == "acme"


@from_2_2
def test_repeat(here: Shop, acme: Any) -> None:
    from rq import Repeat

    with acme:
        sent = here.queue.enqueue(shop.noted, "repeated", repeat=Repeat(times=2))

    assert here.notes("repeated", 3) == ["acme"] * 3
    assert here.got(sent) == "acme"


@from_2_2
@only_with_scheduler
def test_repeat_with_an_interval(here: Shop, acme: Any) -> None:
    from rq import Repeat

    with acme:
        here.queue.enqueue(shop.noted, "repeated later", repeat=Repeat(times=1, interval=1))

    assert here.notes("repeated later", 2) == ["acme"] * 2


# again


def test_retry(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.failing_until, 3, retry=Retry(max=2))

    assert here.notes(sent.id, 3) == ["acme"] * 3
    assert here.got(sent) == ["acme"]


@only_with_scheduler
def test_retry_with_an_interval(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.failing_until, 2, retry=Retry(max=1, interval=1))

    assert here.notes(sent.id, 2) == ["acme"] * 2
    assert here.got(sent) == ["acme"]


def test_retry_of_a_job_that_replaces_its_meta(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.losing_meta, 2, retry=Retry(max=1))

    assert here.notes(sent.id, 2) == ["acme"] * 2


@from_2_2
def test_retry_that_is_returned(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.returning_retry)

    assert here.notes(sent.id, 2) == ["acme"] * 2
    assert here.got(sent) == "acme"


def test_requeue(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.failing_until, 2)
    assert here.ended(sent) == JobStatus.FAILED
    with Current.set(tenant_id="globex"):
        requeue_job(sent.id, connection=here.connection)

    assert here.notes(sent.id, 2) == ["acme"] * 2
    assert here.got(sent) == ["acme"]


@pytest.mark.skipif(RELEASE < (2, 1), reason="the worker of RQ 2.0 ends when a work horse is killed")
@only_with_horses
def test_retry_after_a_killed_work_horse(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.killed, retry=Retry(max=1))

    assert here.notes(sent.id, 2) == ["acme"] * 2
    assert here.ended(sent) == JobStatus.FAILED


def test_redelivery_after_a_killed_worker(install: Callable[..., None], acme: Any, tmp_path: Path) -> None:
    install()
    simple = ("worker", "-w", "rq.worker.SimpleWorker")
    with servers.queue() as here:
        with servers.worker(here, tmp_path / "first.log", *simple) as first, acme:
            sent = here.queue.enqueue(shop.killed_with_its_worker, retry=Retry(max=1))
            first.wait(20)
        for name in Worker.all_keys(queue=here.queue):
            here.connection.srem(f"rq:workers:{here.name}", name)
        StartedJobRegistry(queue=here.queue).cleanup(10**12)  # what a worker does when it has missed the other one
        with servers.worker(here, tmp_path / "second.log", *simple):
            assert here.notes(sent.id, 2) == ["acme", "acme"]
            assert here.got(sent) == "acme"
            probe(here)
        assert here.noted("residue") == []


# callbacks and handlers


def test_on_success(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who, on_success=Callback(shop.on_success))

    assert here.notes(f"{sent.id}:success") == ["acme"]


def test_on_success_enqueues(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who, on_success=Callback(shop.enqueueing_callback))

    (child,) = here.notes(f"{sent.id}:child")
    assert here.got(child) == "acme"


def test_on_failure(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.failing, on_failure=Callback("tests.tenantjobs_rq.shop.on_failure"))

    assert here.notes(f"{sent.id}:failure") == ["acme"]


@only_with_horses
def test_on_stopped(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.endless, on_stopped=Callback(shop.on_stopped))
    assert here.notes(sent.id) == ["acme"]
    send_stop_job_command(here.connection, sent.id)

    assert here.notes(f"{sent.id}:stopped") == ["acme"]
    assert here.ended(sent) == JobStatus.STOPPED
    probe(here)


@only_with_handler
def test_exception_handler(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.failing)

    assert here.notes(f"{sent.id}:handler") == ["acme"]


# what must not run


def test_a_job_without_a_tenant_fails_and_its_body_never_runs(here: Shop) -> None:
    sent = here.queue.enqueue(shop.forbidden, on_failure=Callback(shop.on_failure))

    assert here.ended(sent) == JobStatus.FAILED
    assert f"TenantMissing: job {sent.id} of queue {here.name} came without a tenant" in here.error(sent)
    assert here.notes(f"{sent.id}:failure") == ["-"]
    assert here.noted("forbidden") == []


def test_a_job_with_an_unreadable_scope_fails(here: Shop) -> None:
    sent = here.queue.enqueue(shop.forbidden, meta={"tenantjobs": '{"v":99,"tenant_id":"acme"}'})

    if (signing := runtime.settings().signing) is not None and signing.keys:  # see CONTRIBUTING.md
        assert "is not signed" in here.error(sent)
    else:
        assert "TenantMissing" in here.error(sent)
        assert "of version 99" in here.error(sent)
    assert here.noted("forbidden") == []


@pytest.mark.parametrize(("tenant_id", "error"), [("gone", "TenantGone"), ("down", "TenantUnavailable")])
def test_a_job_of_a_tenant_that_cannot_be_located_fails(here: Shop, tenant_id: str, error: str) -> None:
    with Current.set(tenant_id=tenant_id):
        sent = here.queue.enqueue(shop.forbidden)

    assert here.ended(sent) == JobStatus.FAILED
    assert error in here.error(sent)
    assert here.noted("forbidden") == []


def test_a_producer_without_tenantjobs(here: Shop, tmp_path: Path) -> None:
    job_id = enqueued_by_hand(here, "forbidden", tmp_path)

    refused = "is not signed" if "TENANTJOBS_SIGNING_KEYS" in os.environ else "TenantMissing"  # see CONTRIBUTING.md
    assert refused in here.error(Job.fetch(job_id, connection=here.connection))
    assert here.noted("forbidden") == []


@only_unsigned
def test_where_tenants_are_observed_jobs_run_and_the_worker_says_so(
    install: Callable[..., None], acme: Any, tmp_path: Path
) -> None:
    install()
    log = tmp_path / "worker.log"
    with servers.queue() as here, servers.worker(here, log, "worker", TENANTJOBS_TENANCY="observe"):
        sent = [enqueued_by_hand(here, "who", tmp_path), here.queue.enqueue(shop.who).id]
        with Current.set(tenant_id="gone"):
            sent.append(here.queue.enqueue(shop.who).id)
        with acme:
            sent.append(here.queue.enqueue(shop.who).id)

        assert [here.got(each) for each in sent] == ["-", "-", "gone", "acme"]
        assert here.noted("residue") == []
    assert log.read_text().count("It runs, because tenancy is 'observe'") == 3


def enqueued_by_hand(here: Shop, function: str, tmp_path: Path) -> str:
    """The id of a job that ``rq enqueue`` has sent, which knows nothing of us."""
    job_id = f"{here.name}-{function}"
    arguments = ("enqueue", "--queue", here.name, "--job-id", job_id, f"tests.tenantjobs_rq.shop.{function}")
    with servers.process(tmp_path / "enqueue.log", *arguments) as enqueuing:
        assert enqueuing.wait(20) == 0
    return job_id


# what must not stay


@pytest.mark.parametrize("fail", [False, True], ids=["returns", "raises"])
def test_a_scope_left_open_reaches_nobody(here: Shop, acme: Any, fail: bool) -> None:
    with acme:
        leaving = [here.queue.enqueue(shop.leaving_open, fail) for _ in range(3)]
    for each in leaving:
        here.ended(each)

    probe(here)


def test_a_callback_that_leaves_a_scope_open_reaches_nobody(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who, on_success=Callback(shop.leaving_callback))
    here.ended(sent)

    probe(here)


def test_a_job_that_exits_leaves_nothing(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.exiting, on_failure=Callback(shop.on_failure))

    assert here.notes(f"{sent.id}:failure") == ["acme"]
    probe(here)


def test_a_job_that_times_out(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.endless, job_timeout=1, on_failure=Callback(shop.on_failure))

    assert here.notes(f"{sent.id}:failure") == ["acme"]
    assert "JobTimeoutException" in here.error(sent)
    probe(here)


def probe(here: Shop) -> None:
    """Jobs without a tenant fail for want of one: they would run if one was left there."""
    probes = [here.queue.enqueue(shop.who) for _ in range(3)]
    for each in probes:
        assert "TenantMissing" in here.error(each)


def test_jobs_are_what_they_were(here: Shop, acme: Any) -> None:
    with acme:
        sent = here.queue.enqueue(shop.who)
    here.got(sent)
    fetched = Job.fetch(sent.id, connection=here.connection)

    assert type(sent) is type(fetched) is Job
    fetched.delete()
    assert not Job.exists(sent.id, here.connection)
