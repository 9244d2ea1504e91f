"""Every way that a message takes through real brokers and real worker processes, by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dramatiq
import dramatiq_abort
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

import tenantjobs_dramatiq
from tenantjobs.current import Current, Snapshot
from tests.services import require
from tests.tenantjobs_dramatiq import servers
from tests.tenantjobs_dramatiq.servers import new_name
from tests.tenantjobs_dramatiq.shop import Shop

pytestmark = pytest.mark.services

WORKERS = {"RabbitMQ": ("RabbitMQ", False), "Redis": ("Redis", False), "gevent": ("Redis", True)}

only_unsigned = pytest.mark.skipif("TENANTJOBS_SIGNING_KEYS" in os.environ, reason="refused, whatever the policy is")


@pytest.fixture(scope="module", params=WORKERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    kind, gevent = WORKERS[request.param]
    with shopping(kind) as shop:
        with servers.worker(shop.name, kind, tmp_path_factory.mktemp("dramatiq") / "worker.log", gevent=gevent):
            yield shop


class shopping:
    """A shop on this broker, which is the global one, and gone afterwards."""

    def __init__(self, kind: str) -> None:
        for service in {kind, "Redis"}:
            require(service)
        self.shop = Shop(new_name(), kind)

    def __enter__(self) -> Shop:
        self.before = dramatiq.broker.global_broker
        dramatiq.set_broker(self.shop.broker)
        return self.shop

    def __exit__(self, *_: object) -> None:
        dramatiq.broker.global_broker = self.before
        self.shop.close()
        servers.remove(self.shop.name, self.shop.name)


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    yield running

    assert [] == running.noted("residue")


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


@pytest.fixture
def key() -> str:
    return new_name()


def scope_of(tenant_id: str) -> dict[str, Any]:
    return tenantjobs_dramatiq.options(Snapshot(tenant_id=tenant_id))


# sending


def test_send(shop: Shop, acme: Any) -> None:
    with acme:
        sent = shop.who.send(1, two=2)

    assert shop.got(sent) == "acme"


def test_send_with_options(shop: Shop, acme: Any) -> None:
    with acme:
        sent = shop.who.send_with_options(args=(1,), kwargs={"two": 2}, max_retries=3, color="blue")

    assert shop.got(sent) == "acme"
    assert sent.options["color"] == "blue"


def test_send_by_name(shop: Shop, acme: Any) -> None:
    message: Message[Any] = Message(queue_name=shop.name, actor_name="who", args=(), kwargs={}, options={})
    with acme:
        sent = shop.broker.enqueue(message)

    assert shop.got(sent) == "acme"
    assert message.options == {}


def test_delay(shop: Shop, acme: Any) -> None:
    with acme:
        sent = shop.who.send_with_options(delay=20)

    assert shop.got(sent.copy(queue_name=shop.name)) == "acme"


def test_system_scope(shop: Shop) -> None:
    with Current.system("nightly cleanup"):
        sent = shop.who.send()

    assert shop.got(sent) == "system"


def test_options_of_a_scheduler(shop: Shop) -> None:
    sent = shop.who.send_with_options(**scope_of("acme"))

    assert shop.got(sent) == "acme"


def test_several_tenants_at_once(shop: Shop) -> None:
    sent = []
    for number in range(8):
        with Current.set(tenant_id=f"t{number % 4}"):
            sent.append(shop.who.send())

    assert [shop.got(each) for each in sent] == ["t0", "t1", "t2", "t3"] * 2


def test_one_message_of_two_tenants(shop: Shop, key: str) -> None:
    message = shop.noting.message(key)
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            sent = shop.broker.enqueue(message)
            assert shop.notes(key) == [tenant_id]
    with Current.set(tenant_id="umbrella"):
        shop.broker.enqueue(sent)

    assert shop.notes(key) == ["umbrella"]
    assert message.options == {}


def test_one_group_of_two_tenants(shop: Shop, key: str) -> None:
    group = dramatiq.group([shop.noting.message(key), shop.noting.message(key)])
    group.add_completion_callback(shop.noting.message(f"{key}:completed"))
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            group.run()
        assert shop.notes(key, 2) == [tenant_id] * 2
        assert shop.notes(f"{key}:completed") == [tenant_id]


def test_an_actor_that_is_called(shop: Shop, acme: Any) -> None:
    with acme:
        assert shop.who() == "acme"


def test_async_actors_on_one_loop(shop: Shop) -> None:
    sent = []
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            sent.append(shop.who_async.send())

    assert [shop.got(each) for each in sent] == [["acme"] * 3, ["globex"] * 3]


def test_children_of_an_actor(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        shop.parent.send(key)

    assert shop.notes(key, 4) == ["acme"] * 4


def test_children_of_an_async_actor(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        shop.parent_async.send(key)

    assert shop.notes(key) == ["acme"]


def test_children_from_another_scope_in_the_worker(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        shop.switching_parent.send(key)

    assert shop.notes(key) == ["globex"]


# pipelines and groups


def test_pipeline(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        pipe = shop.who.message() | shop.noting.message_with_options(args=(key,), pipe_ignore=True) | shop.who.message()
        pipe.run()

    assert shop.notes(key) == ["acme"]
    assert shop.got(pipe.messages[-1]) == "acme"


def test_pipeline_with_delays(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        later = shop.noting.message_with_options(args=(key,), pipe_ignore=True, delay=10)
        (shop.who.message() | later).run(delay=10)

    assert shop.notes(key) == ["acme"]


def test_one_pipeline_of_two_tenants(shop: Shop, key: str) -> None:
    second = shop.noting.message_with_options(args=(key,), pipe_ignore=True)
    pipe = shop.who.message() | second
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            pipe.run()

    assert sorted(shop.notes(key, 2)) == ["acme", "globex"]


def test_group(shop: Shop, acme: Any) -> None:
    with acme:
        group = dramatiq.group([shop.who.message(), shop.who.message() | shop.who.message()])
        group.run()

    assert shop.got(group.children[0]) == "acme"
    assert group.children[1].get_result(block=True) == "acme"


def test_completion_callbacks_of_a_group(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        group = dramatiq.group([shop.who.message(), shop.who.message() | shop.who.message()])
        group.add_completion_callback(shop.noting.message(key))
        group.add_completion_callback(shop.noting.message(key))
        group.run()

    assert shop.notes(key, 2) == ["acme"] * 2


def test_completion_callbacks_of_a_group_of_several_tenants_are_of_the_call(shop: Shop, key: str) -> None:
    children = [shop.who.message_with_options(**scope_of(tenant_id)) for tenant_id in ("acme", "globex")]
    group = dramatiq.group(children)
    group.add_completion_callback(shop.noting.message(key))
    for _ in range(2):
        with Current.system("both of them"):
            group.run()

    assert shop.notes(key, 2) == ["system"] * 2
    with Current.set(tenant_id="umbrella"):
        group.run()
    assert shop.notes(key) == ["umbrella"]


# callbacks


def test_on_success(shop: Shop, acme: Any) -> None:
    with acme:
        sent = shop.who.send_with_options(on_success=shop.succeeded)

    assert shop.notes(f"{sent.message_id}:succeeded") == ["acme"]


def test_on_failure_and_what_it_sends(shop: Shop, acme: Any) -> None:
    with acme:
        sent = shop.failing.send_with_options(on_failure="failed")

    assert shop.notes(f"{sent.message_id}:failed") == ["acme"]
    assert shop.notes(f"{sent.message_id}:child") == ["acme"]


@pytest.mark.skipif("on_retry_exhausted" not in Retries().actor_options, reason="newer than this Dramatiq")
def test_on_retry_exhausted(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        sent = shop.flaky.send_with_options(args=(key, 9), on_retry_exhausted="exhausted")

    assert shop.notes(f"{sent.message_id}:exhausted") == ["acme"]
    assert shop.notes(key, 3) == ["acme"] * 3


# again


def test_automatic_retries(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        sent = shop.flaky.send(key, 3)

    assert shop.got(sent) == "acme"
    assert shop.notes(key, 3) == ["acme"] * 3


def test_retry_that_is_raised(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        sent = shop.asking_again.send(key)

    assert shop.got(sent) == "acme"
    assert shop.notes(key, 2) == ["acme"] * 2


def test_a_dead_letter_that_is_sent_again(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        sent = shop.flaky.send(key, 4)
    letter = shop.dead_letter(sent)
    with Current.set(tenant_id="globex"):
        shop.broker.enqueue(letter)

    assert shop.notes(key, 4) == ["acme"] * 4


@pytest.mark.parametrize("kind", ["RabbitMQ", "Redis"])
def test_a_killed_worker_and_one_that_is_stopped(kind: str, acme: Any, tmp_path: Any) -> None:
    with shopping(kind) as shop:
        with servers.worker(shop.name, kind, tmp_path / "first.log"), acme:
            sent = shop.killed.send("killed")
            assert shop.notes("killed") == ["acme"]
        with servers.worker(shop.name, kind, tmp_path / "second.log") as second:
            assert shop.notes("killed") == ["acme"]
            assert shop.got(sent) == "acme"

            with Current.set(tenant_id="acme"):
                shop.interrupted.send_with_options(args=("stopped",), notify_shutdown=True)
            assert shop.notes("stopped") == ["acme"]
            second.terminate()
            assert shop.notes("stopped:Shutdown") == ["acme"]
            assert second.wait(15) == 0


# what must not run


def test_a_message_without_a_tenant_fails_and_its_actor_never_runs(shop: Shop) -> None:
    sent = shop.forbidden.send_with_options(max_retries=5)

    assert "TenantRefused" in shop.error(sent)
    assert shop.noted("forbidden") == []
    assert shop.dead_letter(sent).actor_name == "forbidden"


@pytest.mark.parametrize("header", ["acme", {"v": 99, "tenant_id": "acme"}, {"v": 1, "error": "no"}], ids=str)
def test_a_message_with_a_scope_that_cannot_be_read_fails(shop: Shop, header: Any) -> None:
    sent = shop.forbidden.send_with_options(tenantjobs=header)

    assert "TenantRefused" in shop.error(sent)
    assert shop.noted("forbidden") == []


def test_a_message_of_a_tenant_that_is_gone_fails(shop: Shop) -> None:
    with Current.set(tenant_id="gone"):
        sent = shop.forbidden.send()

    assert "TenantRefused" in shop.error(sent)
    assert shop.noted("forbidden") == []


def test_a_message_of_a_producer_without_tenantjobs_fails(shop: Shop, acme: Any) -> None:
    bare = Shop(shop.name, shop.kind, install=False)
    with acme:
        sent = bare.forbidden.send()
    bare.close()

    assert "TenantRefused" in shop.error(sent)
    assert shop.noted("forbidden") == []


def test_a_message_of_a_tenant_that_cannot_be_looked_up_is_tried_again_like_any_error(shop: Shop) -> None:
    with Current.set(tenant_id="down"):
        sent = shop.forbidden.send_with_options(max_retries=2)

    assert "no route to the store" in shop.error(sent)
    assert shop.dead_letter(sent).options["retries"] == 2
    assert shop.noted("forbidden") == []


@only_unsigned
def test_where_tenants_are_observed_actors_run_and_the_worker_says_so(acme: Any, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with shopping("Redis") as shop, servers.worker(shop.name, "Redis", log, tenancy="observe"):
        bare = Shop(shop.name, "Redis", install=False)
        sent = [bare.who.send(), shop.who.send(), shop.who.send_with_options(tenantjobs={"v": 99})]
        bare.close()
        with Current.set(tenant_id="gone"):
            sent.append(shop.who.send())
        with acme:
            sent.append(shop.who.send())

        assert [shop.got(each) for each in sent] == ["-", "-", "-", "gone", "acme"]
        assert shop.noted("residue") == []
    warned = log.read_text().split("because tenancy is 'observe'")[:-1]
    assert sorted(each.message_id for each in sent[:4]) == sorted(
        re.findall(r"who\[(.*?)\]", each)[0] for each in warned
    )


# what must not stay


@pytest.mark.parametrize("fail", [False, True], ids=["returns", "raises"])
def test_a_scope_left_open_reaches_nobody(shop: Shop, acme: Any, fail: bool) -> None:
    with acme:
        for sent in [shop.leaving_open.send(fail) for _ in range(6)]:
            ended(shop, sent)

    probe(shop)


@pytest.mark.parametrize("ending", ["exiting", "limited", "skipped"])
def test_whatever_way_an_actor_ends(shop: Shop, acme: Any, ending: str) -> None:
    with acme:
        ended(shop, shop.broker.get_actor(ending).send())

    probe(shop)


def test_a_time_limit(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        handled = shop.interrupted.send_with_options(args=(key,), time_limit=100, on_failure="failed")
        left = shop.endless.send_with_options(args=(key,), time_limit=100)

    assert shop.notes(f"{key}:TimeLimitExceeded") == ["acme"]
    assert shop.notes(f"{handled.message_id}:failed") == ["acme"]
    assert "TimeLimitExceeded" in shop.error(left)
    probe(shop)


def test_an_abort(shop: Shop, acme: Any, key: str) -> None:
    with acme:
        handled = shop.interrupted.send(key)
        pending = shop.who.send_with_options(delay=1500)
    assert shop.notes(key) == ["acme"]
    for message in (handled, pending):
        dramatiq_abort.abort(message.message_id, middleware=shop.abortable)

    assert shop.notes(f"{key}:Abort") == ["acme"]
    assert shop.got(pending.copy(queue_name=shop.name)) is None
    probe(shop)


def ended(shop: Shop, sent: Message[Any]) -> None:
    with suppress(dramatiq.results.ResultFailure):
        shop.got(sent)


def probe(shop: Shop) -> None:
    """Messages without a tenant fail for want of one: they would run if one was left there."""
    for sent in [shop.who.send() for _ in range(8)]:
        assert "TenantRefused" in shop.error(sent)
