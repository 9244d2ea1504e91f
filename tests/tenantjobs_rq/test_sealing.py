"""Jobs of RQ with keys in [signing]: what is accepted, and what stops."""

from __future__ import annotations

import logging
import pickle
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rq
from rq import Callback, Queue, Retry
from rq.job import Job, requeue_job
from rq.worker import SimpleWorker

import tenantjobs_rq
from tenantjobs import testing
from tenantjobs.current import Current
from tests.tenantjobs_rq import servers, shop
from tests.tenantjobs_rq.servers import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

from_2_2 = pytest.mark.skipif(not hasattr(rq, "Repeat"), reason="RQ repeats jobs from 2.2 on")
Install = Callable[..., None]
KEYS = ["2026-11:a new secret, in use"]


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    with testing.override(signing={"keys": KEYS}):
        yield


@pytest.fixture
def here() -> Iterator[Shop]:
    with servers.queue() as found:
        yield found


def work(here: Shop) -> None:
    """Perform what waits, in this process."""
    worker = SimpleWorker([here.queue], connection=here.connection)
    worker.log.setLevel(logging.ERROR)
    worker.work(burst=True, logging_level="ERROR")


def header(here: Shop, job: Job) -> str:
    found: Any = here.connection.hget(job.key, "tenantjobs")
    return str(found.decode())


# what is accepted


def test_a_job_that_we_have_enqueued_is_sealed_and_runs(here: Shop, install: Install, acme: Any) -> None:
    install()
    with acme:
        sent = here.queue.enqueue(shop.who, 1, two={(1, 2): "as no JSON has it"}, on_success=Callback(shop.on_success))
        many = here.queue.enqueue_many([Queue.prepare_data(shop.who, (1,)), Queue.prepare_data(shop.who)])
    work(here)

    assert header(here, sent).startswith('{"v":1,"tenant_id":"acme","sig":"2026-11:')
    assert ["acme"] * 3 == [here.got(each) for each in (sent, *many)]
    assert ["acme"] == here.notes(f"{sent.id}:success")


def test_retries_dependents_and_a_job_that_is_requeued_keep_their_seal(here: Shop, install: Install, acme: Any) -> None:
    install()
    with acme:
        flaky = here.queue.enqueue(shop.failing_until, 3, retry=Retry(max=3))
        after = here.queue.enqueue(shop.who, depends_on=flaky)
        failed = here.queue.enqueue(shop.failing)
    work(here)
    requeue_job(failed.id, connection=here.connection)
    work(here)

    assert ["acme"] == here.got(flaky)
    assert "acme" == here.got(after)
    assert "as asked for" in here.error(failed)


@from_2_2
def test_repeats_keep_their_seal(here: Shop, install: Install, acme: Any) -> None:
    from rq import Repeat

    install()
    with acme:
        here.queue.enqueue(shop.noted, "repeated", repeat=Repeat(times=2))
    work(here)

    assert ["acme"] * 3 == here.noted("repeated")


def test_a_job_that_is_performed_where_it_is_enqueued_needs_no_seal(here: Shop, install: Install, acme: Any) -> None:
    install()
    with acme:
        Queue(here.name, connection=here.connection, is_async=False).enqueue(shop.noted, "here")

    assert ["acme"] == here.noted("here")


def test_an_entry_of_cron_is_sealed_when_its_job_is_enqueued(here: Shop, install: Install) -> None:
    install()
    with Current.system("nightly report"):
        meta = tenantjobs_rq.meta()
    sent = [here.queue.enqueue(shop.who, meta={**meta, "color": "blue"}) for _ in range(2)]
    work(here)

    assert "sig" not in meta["tenantjobs"]
    assert ["system", "system"] == [here.got(each) for each in sent]
    assert sent[0].get_meta() == {"color": "blue"}


def test_a_scope_that_a_job_found_in_its_meta_is_not_sealed(here: Shop, install: Install) -> None:
    install()
    sent = here.queue.enqueue(shop.who, meta={"tenantjobs": '{"v":1,"tenant_id":"globex"}'})
    work(here)

    assert "is not signed" in here.error(sent)


def test_a_job_without_a_scope_has_a_seal_as_well(here: Shop, install: Install) -> None:
    install("optional")
    sent, stripped = here.queue.enqueue(shop.who), here.queue.enqueue(shop.who)
    here.connection.hdel(stripped.key, "tenantjobs")
    work(here)

    assert "-" == here.got(sent)
    assert "is not signed" in here.error(stripped)


# what is not


def data(*args: object, name: str = "tests.tenantjobs_rq.shop.forbidden") -> bytes:
    return zlib.compress(pickle.dumps((name, None, args, {})))


@pytest.mark.parametrize(
    ("change", "tenancy"),
    [
        (lambda text: {"tenantjobs": text.replace("acme", "globex")}, "required"),
        (lambda text: {"tenantjobs": '{"v":1,"tenant_id":"globex"}'}, "observe"),
        (lambda text: {"tenantjobs": "not even JSON"}, "observe"),
        (lambda text: {"data": data()}, "optional"),
        (lambda text: {"success_callback_name": "tests.tenantjobs_rq.shop.forbidden"}, "required"),
        (lambda text: {"failure_callback_name": "tests.tenantjobs_rq.shop.forbidden"}, "required"),
    ],
)
def test_what_was_forged_or_changed_fails(
    here: Shop, install: Install, acme: Any, change: Callable[[str], dict[str, Any]], tenancy: Any
) -> None:
    install(tenancy)
    with acme:
        sent = here.queue.enqueue(shop.noted, "forbidden")
    here.connection.hset(sent.key, mapping=change(header(here, sent)))
    work(here)

    assert "BadSignature" in here.error(sent)
    assert [] == here.noted("forbidden")


def test_the_header_of_another_job_does_not_fit(here: Shop, install: Install, acme: Any) -> None:
    install()
    with acme:
        of_acme = here.queue.enqueue(shop.who)
    with Current.set(tenant_id="globex"):
        sent = here.queue.enqueue(shop.who)
    here.connection.hset(sent.key, "tenantjobs", header(here, of_acme))
    work(here)

    assert "changed on its way" in here.error(sent)
    assert "acme" == here.got(of_acme)


def test_a_worker_does_not_seal_what_it_stores_again(here: Shop, install: Install, acme: Any) -> None:
    install()
    with acme:
        sent = here.queue.enqueue(shop.who)
    here.connection.hset(sent.key, "tenantjobs", '{"v":1,"tenant_id":"globex"}')
    here.connection.hset(sent.key, "failure_callback_name", "a.module.that.is.not.there")
    work(here)
    requeue_job(sent.id, connection=here.connection)
    work(here)

    assert '{"v":1,"tenant_id":"globex"}' == header(here, sent)
    assert "is not signed" in here.error(sent)


def test_while_it_is_observed_what_is_not_signed_runs_and_is_told(
    here: Shop, install: Install, acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    install()
    with acme:
        sent = here.queue.enqueue(shop.who)
    here.connection.hset(sent.key, "tenantjobs", '{"v":1,"tenant_id":"globex"}')
    with testing.override(signing={"mode": "observe"}):
        work(here)

    assert "globex" == here.got(sent)
    assert caplog.text.count("mode is 'observe'") == 1
