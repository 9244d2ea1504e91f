from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rq.worker
from rq import Callback, Queue, Retry
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.version import VERSION
from rq.worker import SimpleWorker

import tenantjobs
import tenantjobs_rq
from tenantjobs import runtime
from tenantjobs.errors import ConfigurationError, SerializationError
from tests.tenantjobs_rq import servers, shop
from tests.tenantjobs_rq.servers import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

Install = Callable[..., None]


class Current(tenantjobs.Current):
    rq_note: Any = None
    rq_local: Any = tenantjobs.attribute(default=None, carried=False)


@pytest.fixture
def here() -> Iterator[Shop]:
    with servers.queue() as found:
        yield found


def work(here: Shop) -> None:
    """Perform what waits, in this process."""
    worker = SimpleWorker([here.queue], connection=here.connection)
    worker.log.setLevel(logging.ERROR)
    worker.work(burst=True, logging_level="ERROR")


def fields(here: Shop, job: Job) -> dict[bytes, bytes]:
    found: Any = here.connection.hgetall(job.key)
    return dict(found)


# what travels


def test_the_scope_is_json_text_in_a_field_of_its_own(here: Shop, install: Install) -> None:
    install()
    with Current.set(tenant_id="acme", rq_note={"deep": [1, 2.5, None]}, rq_local="here"):
        sent = here.queue.enqueue(shop.who)

    text = b'{"v":1,"tenant_id":"acme","attributes":{"rq_note":{"deep":[1,2.5,null]}}}'
    assert fields(here, sent)[b"tenantjobs"] == text


STORED: dict[str, Callable[[Queue, str], Any]] = {
    "enqueue": lambda queue, job_id: queue.enqueue(shop.who, 1, two=2, job_id=job_id, meta={"color": "blue"}),
    "enqueue_at": lambda queue, job_id: queue.enqueue_at(datetime(2099, 1, 1, tzinfo=UTC), shop.who, job_id=job_id),
    "enqueue_many": lambda queue, job_id: queue.enqueue_many([Queue.prepare_data(shop.who, job_id=job_id)]),
    "retry and callbacks": lambda queue, job_id: queue.enqueue(
        shop.who, job_id=job_id, retry=Retry(max=2), on_success=Callback(shop.on_success), at_front=True
    ),
    "depends on": lambda queue, job_id: queue.enqueue(
        shop.who, job_id=job_id, depends_on=queue.enqueue(shop.who, job_id="before")
    ),
}


@pytest.mark.parametrize("after_commit", [False, True])
@pytest.mark.parametrize("way", STORED)
def test_without_a_scope_a_job_is_stored_as_it_was(here: Shop, install: Install, way: str, after_commit: bool) -> None:
    plain = stored(here, way)
    install(after_commit=after_commit)
    carried = stored(here, way)

    assert b"data" in plain
    assert plain == carried


def stored(here: Shop, way: str) -> dict[bytes, bytes]:
    """The job as it lies in Redis, less the moments."""
    job_id = f"{here.name}-1"
    STORED[way](here.queue, job_id)
    job = Job.fetch(job_id, connection=here.connection)
    found = fields(here, job)
    job.delete()
    return {name: value for name, value in found.items() if name not in (b"created_at", b"enqueued_at")}


def test_what_cannot_travel_is_refused_at_the_call(here: Shop, install: Install) -> None:
    install()
    with Current.set(tenant_id="acme", rq_note=object()), pytest.raises(SerializationError, match="rq_note"):
        here.queue.enqueue(shop.who)

    assert here.queue.count == 0


def test_where_tenants_are_observed_what_cannot_travel_is_logged(
    here: Shop, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("observe")
    with Current.set(tenant_id="acme", rq_note=object()):
        sent = here.queue.enqueue(shop.who)
    work(here)

    assert "cannot travel" in caplog.text
    assert here.got(sent) == "-"
    assert "could not be written where the job was sent, SerializationError" in caplog.text


def test_any_serializer_will_do(here: Shop, install: Install, acme: Any) -> None:
    install()
    queue = Queue(here.name, connection=here.connection, serializer=JSONSerializer)
    with acme:
        sent = queue.enqueue(shop.who)
    worker = SimpleWorker([queue], connection=here.connection, serializer=JSONSerializer)
    worker.work(burst=True, logging_level="ERROR")

    assert sent.return_value(refresh=True) == "acme"


def test_a_job_class_and_a_queue_class_of_the_user_carry_it_too(here: Shop, install: Install, acme: Any) -> None:
    class TheirJob(Job):
        pass

    class TheirQueue(Queue):
        job_class = TheirJob

    install()
    with acme:
        sent = TheirQueue(here.name, connection=here.connection).enqueue(shop.who)
    work(here)

    assert here.got(sent) == "acme"


def test_meta_gives_a_scope_where_there_is_none_and_is_taken_out_of_the_job(here: Shop, install: Install) -> None:
    install()
    with Current.system("nightly report"):
        given = {"color": "blue", **tenantjobs_rq.meta()}
    before = dict(given)
    sent = here.queue.enqueue(shop.who, meta=given)
    work(here)

    assert here.got(sent) == "system"
    assert sent.get_meta() == {"color": "blue"}
    assert given == before


def test_a_meta_that_is_no_scope_is_refused_at_the_call(here: Shop, install: Install) -> None:
    install()
    with pytest.raises(SerializationError, match=r"the text that tenantjobs_rq\.meta\(\) gives, not \{'v': 1\}"):
        here.queue.enqueue(shop.who, meta={"tenantjobs": {"v": 1}})


def test_meta_of_no_scope_is_empty() -> None:
    assert tenantjobs_rq.meta() == {}


def test_whoever_is_told_of_a_killed_work_horse_is_told_in_its_scope(here: Shop, install: Install, acme: Any) -> None:
    install()
    seen = []
    with acme:
        sent = here.queue.enqueue(shop.who)
    worker = rq.worker.Worker(
        [here.queue], connection=here.connection, work_horse_killed_handler=lambda *_: seen.append(Current.tenant_id)
    )
    worker.handle_work_horse_killed(sent, 1, 9, None)

    assert seen == ["acme"]
    assert Current.scope == "unset"


def test_whoever_is_told_of_a_job_whose_worker_has_died_is_told_in_its_scope(
    here: Shop, install: Install, acme: Any, tmp_path: Path
) -> None:
    install()
    seen: list[str | None] = []
    with acme:
        sent = here.queue.enqueue(shop.endless, on_failure=Callback(shop.on_failure))
    with servers.worker(here, tmp_path / "worker.log", "worker", "-w", "rq.worker.SimpleWorker") as worker:
        assert here.notes(sent.id) == ["acme"]
        worker.kill()
    StartedJobRegistry(queue=here.queue).cleanup(10**12, exception_handlers=[lambda *_: seen.append(Current.tenant_id)])

    assert here.notes(f"{sent.id}:failure") == ["acme"]
    assert seen == ["acme"]
    assert Current.scope == "unset"


# synchronous queues


def test_a_synchronous_queue_performs_in_the_scope_of_the_call(install: Install, acme: Any) -> None:
    install()
    with servers.queue(is_async=False) as here, acme:
        sent = here.queue.enqueue(shop.who, on_success=Callback(shop.on_success))

        assert here.got(sent) == "acme"
        assert here.notes(f"{sent.id}:success") == ["acme"]
        assert Current.tenant_id == "acme"


@pytest.mark.tenantjobs_leaks
def test_a_synchronous_job_leaves_nothing_to_its_caller(install: Install, acme: Any) -> None:
    install()
    with servers.queue(is_async=False) as here, acme:
        here.queue.enqueue(shop.leaving_open, on_success=Callback(shop.leaving_callback))

        assert Current.tenant_id == "acme"


def test_a_synchronous_job_without_a_tenant_fails(install: Install) -> None:
    install()
    with servers.queue(is_async=False) as here:
        sent = here.queue.enqueue(shop.forbidden)

        assert "TenantMissing" in here.error(sent)
        assert here.noted("forbidden") == []


# policies


@pytest.mark.tenantjobs_leaks
def test_a_scope_that_was_left_open_is_logged(
    here: Shop, install: Install, acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    install()
    with acme:
        sent = here.queue.enqueue(shop.leaving_open)
    work(here)

    assert f"job {sent.id} of queue {here.name} left a scope of Current open" in caplog.text
    assert Current.scope == "unset"


def test_optional_performs_without_a_tenant(here: Shop, install: Install) -> None:
    install("optional")
    sent = here.queue.enqueue(shop.who)
    work(here)

    assert here.got(sent) == "-"


def test_optional_refuses_what_cannot_be_read(here: Shop, install: Install) -> None:
    install("optional")
    sent = here.queue.enqueue(shop.forbidden, meta={"tenantjobs": "acme"})
    work(here)

    assert "cannot be read: it is 'acme', not an object" in here.error(sent)


def test_observe_performs_and_reports(here: Shop, install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("observe")
    sent = here.queue.enqueue(shop.who)
    work(here)

    assert here.got(sent) == "-"
    assert f"job {sent.id} of queue {here.name} came without a tenant" in caplog.text
    assert "It runs, because tenancy is 'observe'" in caplog.text


@pytest.mark.parametrize(
    ("error", "named"), [(LookupError("no such row"), "TenantUnavailable"), (None, "TenantGone")], ids=["down", "gone"]
)
def test_a_tenant_that_cannot_be_located_fails_the_job(
    here: Shop, install: Install, acme: Any, error: Exception | None, named: str
) -> None:
    install()

    def locate(_tenant_id: str) -> Any:
        if error is not None:
            raise error

    with acme:
        sent = here.queue.enqueue(shop.forbidden)
    with runtime.override(tenant_locator=locate):
        work(here)

    assert named in here.error(sent)
    assert here.noted("forbidden") == []


def test_jobs_that_were_enqueued_before_the_installation_follow_the_policy(here: Shop, install: Install) -> None:
    sent = here.queue.enqueue(shop.forbidden)
    install()
    work(here)

    assert "TenantMissing" in here.error(sent)


def test_a_worker_that_nobody_told_asks_the_configuration(here: Shop, install: Install) -> None:
    from tenantjobs_rq.installation import cover

    cover()
    strict = here.queue.enqueue(shop.forbidden)
    work(here)
    with runtime.override(tenancy="optional"):
        sent = here.queue.enqueue(shop.who)
        work(here)

    assert "TenantMissing" in here.error(strict)
    assert here.got(sent) == "-"


def test_the_module_of_a_job_may_be_what_declares_the_policy(here: Shop, tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text(
        "import tenantjobs_rq\n"
        "from tenantjobs.current import Current\n"
        "tenantjobs_rq.install('optional')\n"
        "imported_in = Current.scope\n"
        "def build():\n"
        "    return [imported_in, Current.scope]\n"
    )
    sent = here.queue.enqueue("reports.build")
    command = ["worker", "--burst", "-j", "tenantjobs_rq.TenantJob", "-P", str(tmp_path), here.name]
    with servers.process(tmp_path / "worker.log", *command) as worker:
        worker.wait(20)

    assert here.got(sent) == ["unset", "unset"]


def test_the_module_of_a_job_is_imported_in_no_scope(
    here: Shop, install: Install, acme: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"module_{here.name}"
    (tmp_path / f"{name}.py").write_text(
        "from tenantjobs.current import Current\n"
        "imported_in = Current.scope\n"
        "def build():\n"
        "    return [imported_in, Current.scope]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    install()
    with acme:
        sent = here.queue.enqueue(f"{name}.build")
    work(here)

    assert here.got(sent) == ["unset", "tenant"]


def test_a_second_installation_changes_nothing(install: Install) -> None:
    install()
    before = Job.perform
    install()

    assert Job.perform is before


@pytest.mark.parametrize("again", [{"tenancy": "optional"}, {"after_commit": True}], ids=repr)
def test_another_installation_is_refused(install: Install, again: dict[str, Any]) -> None:
    install()
    with pytest.raises(ConfigurationError, match="decide for one"):
        install(**again)


def test_an_unknown_policy_is_refused(install: Install) -> None:
    with pytest.raises(ConfigurationError, match="one of required, optional, observe"):
        install("strict")


def test_to_import_the_package_changes_nothing_of_rq() -> None:
    code = "import tenantjobs_rq, rq.job; assert not hasattr(rq.job.Job.perform, 'covers')"
    paths = {"PYTHONPATH": f"{servers.ROOT}:{servers.ROOT / 'adapters'}"}

    subprocess.run([sys.executable, "-c", code], check=True, env=paths)


@pytest.mark.skipif(not VERSION.startswith("2.") or not hasattr(rq.worker, "SpawnWorker"), reason="RQ 2 with spawn")
def test_a_worker_that_would_lose_the_tenant_does_not_start(here: Shop, install: Install) -> None:
    install()
    worker = rq.worker.SpawnWorker([here.queue], connection=here.connection)

    with pytest.raises(ConfigurationError, match="upgrade to RQ 3"):
        worker.work(burst=True)


# cron


def test_an_entry_of_cron_has_the_scope_that_it_was_registered_in(here: Shop, install: Install) -> None:
    cron = pytest.importorskip("rq.cron")
    install()
    with Current.system("nightly report"):
        cron.register(shop.who, here.name, interval=60, meta={"color": "blue"})
    scheduler = cron.create_cron(here.connection)
    with Current.set(tenant_id="acme"):
        scheduler.register(shop.who, here.name, interval=60)
    scheduler.register(shop.forbidden, here.name, interval=60)
    scheduler.enqueue_jobs()
    sent = here.queue.get_jobs()
    work(here)

    assert [here.got(each) for each in sent[:2]] == ["system", "acme"]
    assert sent[0].get_meta() == {"color": "blue"}
    assert "TenantMissing" in here.error(sent[2])


def test_rq_cron_as_a_process_enqueues_in_the_scope(here: Shop, install: Install, tmp_path: Path) -> None:
    pytest.importorskip("rq.cron")
    (tmp_path / "entries.py").write_text(
        "import tenantjobs_rq\n"
        "tenantjobs_rq.install()\n"
        "from rq.cron import register\n"
        "from tenantjobs.current import Current\n"
        "from tests.tenantjobs_rq import shop\n"
        "with Current.set(tenant_id='acme'):\n"
        f"    register(shop.noted, '{here.name}', args=('cron',), interval=60)\n"
    )
    install()
    with servers.worker(here, tmp_path / "worker.log", "worker"):
        with servers.process(tmp_path / "cron.log", "cron", str(tmp_path / "entries.py")):
            assert here.notes("cron") == ["acme"]
