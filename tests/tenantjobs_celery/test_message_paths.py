"""Every way that a message takes through real brokers and real worker processes, by name."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import Celery, chain, chord, group
from celery.beat import Scheduler
from celery.exceptions import TaskRevokedError

import tenantjobs_celery
from tenantjobs import runtime
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import BadSignature, TenantGone, TenantMissing, TenantUnavailable
from tests.tenantjobs_celery import servers

pytestmark = pytest.mark.services

WORKERS = {
    "prefork on RabbitMQ": ("RabbitMQ", "prefork"),
    "prefork on Redis": ("Redis", "prefork"),
    "threads on Redis": ("Redis", "threads"),
    "gevent on RabbitMQ": ("RabbitMQ", "gevent"),
    "solo on Redis": ("Redis", "solo"),
}
PATIENCE = 45

# Threads can be neither timed out nor killed, and SystemExit stops a worker without any. Greenlets have no soft limit.
prefork = [name for name, (_, pool) in WORKERS.items() if pool == "prefork"]
only_prefork = pytest.mark.parametrize("running", prefork, indirect=True)
only_one = pytest.mark.parametrize("running", ["prefork on RabbitMQ"], indirect=True)
only_unsigned = pytest.mark.skipif("TENANTJOBS_SIGNING_KEYS" in os.environ, reason="refused, whatever the policy is")
survives_an_exit = pytest.mark.parametrize("running", [name for name in WORKERS if "solo" not in name], indirect=True)
can_terminate = pytest.mark.parametrize("running", [*prefork, "gevent on RabbitMQ"], indirect=True)


@pytest.fixture(scope="module", params=WORKERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    broker, pool = WORKERS[request.param]
    with servers.worker(broker, pool, tmp_path_factory.mktemp("celery") / "worker.log") as shop:
        yield shop


@pytest.fixture
def shop(running: Any) -> Iterator[Any]:
    yield running

    assert [] == running.residue()


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


def got(result: Any) -> Any:
    return result.get(timeout=PATIENCE, interval=0.02)


def results(shop: Any, ids: list[str]) -> list[Any]:
    return [got(shop.app.AsyncResult(task_id)) for task_id in ids]


def scope_of(tenant_id: str) -> dict[str, Any]:
    return tenantjobs_celery.headers(Snapshot(tenant_id=tenant_id))


# calls


def test_delay(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("who").delay()

    assert got(sent) == "acme"


def test_apply_async(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("who").apply_async((1,), {"two": 2}, headers={"color": "blue"}, priority=3, shadow="renamed")

    assert got(sent) == "acme"


def test_send_task_by_name(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.app.send_task("shop.who")

    assert got(sent) == "acme"


def test_shared_task(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("shared").delay()

    assert got(sent) == "acme"


def test_countdown(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("who").apply_async(countdown=0.2)

    assert got(sent) == "acme"


def test_eta(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("who").apply_async(eta=datetime.now(UTC) + timedelta(seconds=0.2))

    assert got(sent) == "acme"


def test_bulk_on_one_producer(shop: Any) -> None:
    sent = []
    with shop.app.producer_pool.acquire(block=True) as producer:
        for tenant_id in ("t1", "t2", "t3"):
            with Current.set(tenant_id=tenant_id):
                sent.append(shop.task("who").apply_async(producer=producer))

    assert [got(each) for each in sent] == ["t1", "t2", "t3"]


def test_system_scope(shop: Any) -> None:
    with Current.system("nightly cleanup"):
        sent = shop.task("who").delay()

    assert got(sent) == "system"


def test_entries_of_beat(shop: Any, acme: Any) -> None:
    with acme:
        shop.app.add_periodic_task(60, noted(shop, "added"), name="added")
    options = {"headers": scope_of("globex")}
    shop.app.conf.beat_schedule["declared"] = {
        "task": "shop.noted",
        "schedule": 60,
        "args": ("declared",),
        "options": options,
    }
    beat = Scheduler(app=shop.app, lazy=True)
    beat.merge_inplace(shop.app.conf.beat_schedule)
    for entry in beat.schedule.values():
        beat.apply_async(entry, producer=beat.producer)
    shop.app.conf.beat_schedule.clear()
    beat.close()

    assert [*shop.notes("added"), *shop.notes("declared")] == ["acme", "globex"]


@only_one
def test_beat_as_a_process(shop: Any, tmp_path: Path) -> None:
    schedule = ("-s", str(tmp_path / "schedule"), "--pidfile", "", "--max-interval", "1")
    with servers.process(shop, tmp_path / "beat.log", "beat", *schedule):
        assert shop.notes("by beat", 2) == ["acme", "acme"]

    assert shop.store.exists(f"{shop.name}:note:forbidden") == 0


def test_an_eager_call(shop: Any, acme: Any) -> None:
    with acme:
        assert shop.task("who").apply().get() == "acme"
        assert Current.tenant_id == "acme"


def test_a_producer_without_tenantjobs(shop: Any) -> None:
    bare = Celery(broker=shop.app.conf.broker_url, set_as_current=False)
    for name in ("task_queues", "task_default_queue", "task_default_exchange", "task_default_routing_key"):
        bare.conf[name] = shop.app.conf[name]
    bare.conf.broker_transport_options = shop.app.conf.broker_transport_options
    with Current.set(tenant_id="acme"):  # nobody looks there
        forgotten = bare.send_task("shop.forbidden")
        told = bare.send_task("shop.who", headers={"tenantjobs": {"v": 1, "tenant_id": "globex"}})
    bare.close()

    if (
        signing := runtime.settings().signing
    ) is not None and signing.keys:  # see CONTRIBUTING.md: then nobody is heard who does not know the key
        for sent in (told, forgotten):
            with pytest.raises(BadSignature):
                got(shop.app.AsyncResult(sent.id))
        return
    assert got(shop.app.AsyncResult(told.id)) == "globex"
    with pytest.raises(TenantMissing):
        got(shop.app.AsyncResult(forgotten.id))


def test_children_sent_from_the_worker(shop: Any, acme: Any) -> None:
    with acme:
        children = got(shop.task("parent").delay())

    assert results(shop, children) == ["acme"] * 4


def test_children_sent_from_another_scope_in_the_worker(shop: Any, acme: Any) -> None:
    with acme:
        children = got(shop.task("switching_parent").delay())

    assert results(shop, children) == ["globex"]


# retries


def test_autoretry(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("autoretried").delay()

    assert got(sent) == [2, "acme"]
    assert shop.notes(sent.id, 3) == ["acme"] * 3


def test_retry(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("retried").delay()

    assert got(sent) == ["acme", None]


def test_retry_with_a_delay_and_other_arguments(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("retried").delay(countdown=0.1)

    assert got(sent) == ["acme", None]


def test_retry_with_backoff(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("backing_off").delay()

    assert got(sent) == [1, "acme"]


def test_retry_with_headers(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("retried").delay(headers={"color": "blue"})

    assert got(sent) == ["acme", "blue"]


def test_retry_beside_a_library_that_nests_headers(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("retried").apply_async(headers={"headers": {"color": "blue"}})

    assert got(sent) == ["acme", "blue"]


def test_reject_and_requeue(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("rejected").delay(requeue=True)

    assert got(sent) == "acme"
    assert shop.notes(sent.id, 2) == ["acme"] * 2


# canvas


def test_chain(shop: Any, acme: Any) -> None:
    who_all = shop.task("who_all")
    with acme:
        sent = chain(who_all.s([]), who_all.s(), who_all.s())()

    assert got(sent) == ["acme"] * 3


def test_group(shop: Any, acme: Any) -> None:
    with acme:
        sent = group(shop.task("who").s() for _ in range(3))()

    assert got(sent) == ["acme"] * 3


def test_chord(shop: Any, acme: Any) -> None:
    with acme:
        sent = chord([shop.task("who").s() for _ in range(3)])(shop.task("who_all").s())

    assert got(sent) == ["acme"] * 4


def test_chord_whose_header_is_of_several_tenants(shop: Any) -> None:
    header = [shop.task("who").si().set(headers=scope_of(tenant_id)) for tenant_id in ("t1", "t2", "t3")]
    body = shop.task("who_all").s() | shop.task("who_all").s()
    with Current.set(tenant_id="owner"):
        sent = chord(header)(body)

    assert got(sent) == ["t1", "t2", "t3", "owner", "owner"]


def test_callback_of_a_chord_whose_header_is_of_another_tenant(shop: Any) -> None:
    header = [shop.task("who").si().set(headers=scope_of("other"))]
    with Current.set(tenant_id="owner"):
        sent = chord(header)(shop.task("who_all").s().set(link=[noted(shop, "body")]))

    assert got(sent) == ["other", "owner"]
    assert shop.notes("body") == ["owner"]


def test_chord_unlock(shop: Any, acme: Any) -> None:
    """What a result backend that cannot count does for a chord: a task that polls, and sends the body."""
    body = shop.task("who_all").s().set(task_id=uuid.uuid4().hex, link=[noted(shop, "unlocked")])
    with acme:
        header = group(shop.task("who").s() for _ in range(2))()
        shop.app.backend.fallback_chord_unlock(header, body, countdown=0.1)

    assert got(shop.app.AsyncResult(body.id)) == ["acme"] * 3
    assert shop.notes("unlocked") == ["acme"]


def test_group_as_the_body_of_a_chord(shop: Any) -> None:
    header = [shop.task("who").si().set(headers=scope_of("other")) for _ in range(2)]
    with Current.set(tenant_id="owner"):
        sent = chord(header)(group(shop.task("who_all").s(), shop.task("who_all").s()))

    assert got(sent) == [["other", "other", "owner"]] * 2


def test_chain_of_groups(shop: Any, acme: Any) -> None:
    who, who_all = shop.task("who"), shop.task("who_all")
    with acme:
        sent = (who.s() | group(who.s(), who.s()) | who_all.s() | group(who_all.s(), who_all.s()) | who_all.s())()

    assert got(sent) == [["acme", "acme", "acme", "acme"]] * 2 + ["acme"]


def test_error_callback_of_a_chord(shop: Any) -> None:
    header = [shop.task("failing").si().set(headers=scope_of("other")), shop.task("who").si()]
    with Current.set(tenant_id="owner"):
        sent = chord(header)(shop.task("who_all").s().set(link_error=[shop.task("old_errback").s()]))

    assert shop.notes(sent.id) == ["owner"]


def test_map_starmap_and_chunks(shop: Any, acme: Any) -> None:
    who = shop.task("who")
    with acme:
        sent = [who.map([1, 2]).delay(), who.starmap([(1, 2), (3, 4)]).delay(), who.chunks([(1,), (2,), (3,)], 2)()]

    assert [got(each) for each in sent] == [["acme"] * 2, ["acme"] * 2, [["acme"] * 2, ["acme"]]]


def test_replace(shop: Any, acme: Any) -> None:
    with acme:
        sent = [shop.task(f"replaced{by}").delay() for by in ("", "_by_group", "_by_chain", "_by_chord")]

    assert [got(each) for each in sent] == ["acme", ["acme"] * 2, ["acme"] * 2, ["acme"] * 3]


def test_one_signature_sent_by_two_tenants(shop: Any) -> None:
    who_all = shop.task("who_all")
    reused = [
        shop.task("who").s(),
        who_all.s([]) | who_all.s(),
        chord([shop.task("who").s()], who_all.s()),
        group([shop.task("who").s(), shop.task("who").s()]),
    ]
    sent = []
    for tenant_id in ("t1", "t2"):
        with Current.set(tenant_id=tenant_id):
            sent.append([signature.clone().delay() for signature in reused])
            sent[-1].append(reused[0].delay())

    for tenant_id, answers in zip(("t1", "t2"), sent, strict=True):
        assert [got(each) for each in answers] == [tenant_id, *[[tenant_id] * 2] * 3, tenant_id]


def test_one_callback_linked_by_two_tenants(shop: Any) -> None:
    callback = noted(shop, "linked twice")
    for tenant_id in ("t1", "t2"):
        with Current.set(tenant_id=tenant_id):
            got(shop.task("who").apply_async(link=callback))

    assert sorted(shop.notes("linked twice", 2)) == ["t1", "t2"]


# callbacks


def test_link(shop: Any, acme: Any) -> None:
    with acme:
        shop.task("who").apply_async(link=[noted(shop, "linked"), noted(shop, "linked") | noted(shop, "linked")])

    assert shop.notes("linked", 3) == ["acme"] * 3


def test_link_error_old_style(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("failing").apply_async(link_error=shop.task("old_errback").s())

    assert shop.notes(sent.id) == ["acme"]


def test_link_error_new_style(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("failing").apply_async(link_error=shop.task("new_errback").s())

    assert shop.notes(sent.id) == ["acme"]


def test_error_callbacks_of_a_chain_and_of_a_group(shop: Any, acme: Any) -> None:
    failing, errbacks = shop.task("failing"), [shop.task("old_errback").s(), shop.task("new_errback").s()]
    together = group(failing.s(), failing.s())
    for errback in errbacks:
        together.link_error(errback)
    with acme:
        sent = [chain(shop.task("who").s(), failing.s()).apply_async(link_error=errbacks), *together().results]

    assert [shop.notes(each.id, 2) for each in sent] == [["acme"] * 2] * 3


@pytest.mark.parametrize("fail", [False, True], ids=["succeeds", "fails"])
def test_hooks_of_a_task(shop: Any, acme: Any, fail: bool) -> None:
    with acme:
        sent = shop.task("hooked").delay(fail=fail)

    counts = {"before_start": 2, "on_retry": 1, "on_failure" if fail else "on_success": 1, "after_return": 1}
    assert {name: shop.notes(f"{sent.id}:{name}", count) for name, count in counts.items()} == {
        name: ["acme"] * count for name, count in counts.items()
    }


# skipped, rejected


def test_ignore(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("ignored").apply_async(link=noted(shop, "ignored"), link_error=noted(shop, "ignored"))

    assert shop.notes(sent.id) == ["acme"]
    probe(shop)
    assert sent.state == "PENDING"
    assert shop.store.exists(f"{shop.name}:note:ignored") == 0


def test_reject(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("rejected").delay(requeue=False)

    assert shop.notes(sent.id) == ["acme"]
    probe(shop)


# what must not run


def test_a_task_without_a_tenant_fails_and_its_body_never_runs(shop: Any) -> None:
    sent = shop.task("forbidden").delay()

    with pytest.raises(TenantMissing, match=r"shop\.forbidden\[.*came without a tenant"):
        got(sent)
    assert sent.state == "FAILURE"
    assert shop.store.exists(f"{shop.name}:note:forbidden") == 0


def test_a_task_with_an_unreadable_scope_fails(shop: Any) -> None:
    sent = shop.app.send_task("shop.forbidden", headers={"tenantjobs": {"v": 99, "tenant_id": "acme"}})

    with pytest.raises(TenantMissing, match="of version 99"):
        got(sent)


@pytest.mark.parametrize(("tenant_id", "error"), [("gone", TenantGone), ("down", TenantUnavailable)])
def test_a_task_of_a_tenant_that_cannot_be_located_fails(shop: Any, tenant_id: str, error: type[Exception]) -> None:
    with Current.set(tenant_id=tenant_id):
        sent = shop.task("forbidden").delay()

    with pytest.raises(error):
        got(sent)
    assert sent.state == "FAILURE"
    assert shop.store.exists(f"{shop.name}:note:forbidden") == 0


@only_unsigned
def test_where_tenants_are_observed_tasks_run_and_the_worker_says_so(tmp_path: Path, acme: Any) -> None:
    log = tmp_path / "worker.log"
    with servers.shopping("Redis", "solo", tenancy="observe") as shop, servers.working(shop, log):
        who = shop.task("who")
        sent = [who.delay(), shop.app.send_task("shop.who", headers={"tenantjobs": {"v": 99}})]
        with Current.set(tenant_id="gone"):
            sent.append(who.delay())
        with acme:
            sent.append(who.delay())

        assert [got(each) for each in sent] == ["-", "-", "gone", "acme"]
        assert shop.residue() == []
    warnings = [line for line in log.read_text().splitlines() if "because tenancy is 'observe'" in line]
    assert [each.id for each in sent[:3]] == [re.findall(r"shop\.who\[(.*?)\]", line)[0] for line in warnings]


def test_map_without_a_tenant_fails(shop: Any) -> None:
    sent = shop.task("who").map([1]).delay()

    with pytest.raises(TenantMissing):
        got(sent)


def test_housekeeping_needs_no_tenant(shop: Any) -> None:
    sent = shop.app.tasks["celery.backend_cleanup"].delay()

    assert got(sent) is None


# what must not stay


@pytest.mark.parametrize("ending", ["returns", "raises", "ignored", "rejected", "is over its soft limit"])
def test_a_scope_left_open_reaches_nobody(shop: Any, acme: Any, ending: str) -> None:
    with acme:
        leaving = [shop.task("leaving_open").delay(ending) for _ in range(4)]
    for each in leaving:
        shop.notes(f"{each.id}:ran")

    probe(shop)


@survives_an_exit
def test_a_task_that_exits_leaves_nothing(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("leaving_open").delay("exits")
    shop.notes(f"{sent.id}:ran")

    probe(shop)


def test_a_task_that_exits_ends_the_worker_of_a_solo_pool_and_leaves_nothing(tmp_path: Path, acme: Any) -> None:
    with servers.shopping("Redis", "solo") as shop:
        with servers.working(shop, tmp_path / "first.log") as worker, acme:
            sent = shop.task("leaving_open").delay("exits")
            shop.notes(f"{sent.id}:ran")
            worker.wait(PATIENCE)
        assert shop.residue() == []
        with servers.working(shop, tmp_path / "second.log"):
            probe(shop)


# revocation


def test_a_task_that_is_revoked_before_it_starts(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("forbidden").apply_async(countdown=1.5)
        sent.revoke()

    with pytest.raises(TaskRevokedError):
        got(sent)
    assert shop.notes(f"{sent.id}:revoked") == ["acme"]
    assert shop.store.exists(f"{shop.name}:note:forbidden") == 0
    probe(shop)


def test_a_task_that_expires(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("forbidden").apply_async(countdown=3, expires=2)

    with pytest.raises(TaskRevokedError):
        got(sent)
    assert shop.notes(f"{sent.id}:revoked") == ["acme"]
    assert shop.store.exists(f"{shop.name}:note:forbidden") == 0
    probe(shop)


@can_terminate
def test_a_task_that_is_revoked_while_it_runs(shop: Any, acme: Any) -> None:
    if shop.pool == "gevent" and "terminate_job" not in vars(import_module("celery.concurrency.gevent").TaskPool):
        pytest.skip("Celery 5.4 cannot stop a greenlet")
    with acme:
        sent = shop.task("waiting").delay()
        shop.notes(f"{sent.id}:ran")
        sent.revoke(terminate=True)

    assert shop.notes(f"{sent.id}:revoked") == ["acme"]
    probe(shop)


# time limits and killed processes


@only_prefork
def test_soft_time_limit(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("soft").apply_async(link_error=shop.task("old_errback").s())

    assert shop.notes(sent.id) == ["acme"]
    probe(shop)


@can_terminate
def test_hard_time_limit(shop: Any, acme: Any) -> None:
    errbacks = [shop.task("old_errback").s(), shop.task("new_errback").s()]
    with acme:
        sent = shop.task("endless").apply_async(link_error=errbacks)

    assert shop.notes(sent.id, 2) == ["acme"] * 2
    if celery.VERSION >= (5, 7):  # some before it call no hook here
        assert shop.notes(f"{sent.id}:on_failure") == ["acme"]
    probe(shop)


@only_prefork
def test_redelivery_after_a_killed_process(shop: Any, acme: Any) -> None:
    with acme:
        sent = shop.task("killed").delay()

    assert got(sent) == ["acme"]
    assert shop.notes(sent.id, 2) == ["acme"] * 2


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_redelivery_after_a_killed_worker(pool: str, tmp_path: Path, acme: Any) -> None:
    with servers.shopping("RabbitMQ", pool) as shop:
        with servers.working(shop, tmp_path / "first.log") as worker, acme:
            sent = shop.task("killed_with_its_worker").delay()
            worker.wait(PATIENCE)
        with servers.working(shop, tmp_path / "second.log"):
            assert got(sent) == "acme"
            probe(shop)

        assert shop.notes(sent.id, 2) == ["acme"] * 2
        assert shop.residue() == []


# where results are kept


@pytest.mark.parametrize("results", ["rpc://", "db+sqlite:///{}/results.db", "file://{}"])
def test_result_backends(tmp_path: Path, acme: Any, results: str) -> None:
    with (
        servers.shopping("RabbitMQ", "solo", results.format(tmp_path)) as shop,
        servers.working(shop, tmp_path / "log"),
    ):
        who, who_all = shop.task("who"), shop.task("who_all")
        with acme:
            sent = [who.apply_async(link=noted(shop, "linked")), (who_all.s([]) | who_all.s())()]
            if results != "rpc://":  # of which Celery makes no chords
                sent.append(chord([who.s(), who.s()], who_all.s())())

        assert [got(each) for each in sent] == ["acme", ["acme"] * 2, ["acme"] * 3][: len(sent)]
        assert shop.notes("linked") == ["acme"]
        probe(shop)
        assert shop.residue() == []


def noted(shop: Any, key: str) -> Any:
    """A callback that notes for whom it ran."""
    return shop.task("noted").s(key)


def probe(shop: Any) -> None:
    """Tasks without a tenant fail for want of one: they would run if one was left there."""
    probes = [shop.task("who").delay() for _ in range(8)]
    for each in probes:
        with pytest.raises(TenantMissing):
            got(each)
