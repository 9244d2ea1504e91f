# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord, group

import tenantjobs_celery
from tenantjobs import testing
from tenantjobs.current import Current
from tenantjobs.errors import BadSignature, TenantMissing
from tests.tenantjobs_celery.bench import Bench

Make = Callable[..., Bench]
Change = Callable[[dict[str, Any], list[Any]], None]
KEYS = ["2026-11:a new secret, in use"]


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    with testing.override(signing={"keys": KEYS}):
        yield


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


def looking(bench: Bench, name: str = "look", **options: Any) -> tuple[Any, list[Any]]:
    """A task, and what each of its runs has seen."""
    seen: list[Any] = []

    @bench.task(name=name, **options)
    def look(*args: object, **kwargs: object) -> str | None:
        seen.append(Current.tenant_id or Current.scope)
        return Current.tenant_id

    return look, seen


def changed(bench: Bench, *changes: Change) -> None:
    """Put back what waits, changed by each of the changes in turn: of the headers and the body."""
    (message,) = bench.waiting()
    for change in changes or [lambda headers, body: None]:
        headers, body = dict(message.headers), json.loads(message.body)
        change(headers, body)
        with bench.app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(
                json.dumps(body),
                routing_key=bench.queue,
                content_type="application/json",
                content_encoding="utf-8",
                headers=headers,
                **{name: message.properties[name] for name in ("correlation_id", "reply_to")},
            )


def refused(bench: Bench, task_id: str) -> str:
    bench.work()
    with pytest.raises(BadSignature) as raised:
        bench.app.AsyncResult(task_id).get()
    return str(raised.value)


# what is accepted


def test_a_task_that_we_have_sent_runs(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        look.delay(1, two=2)
    (headers,) = bench.work()

    assert ["acme"] == seen
    assert headers["tenantjobs"].startswith('{"v":1,"tenant_id":"acme","sig":"2026-11:')


def test_protocol_1_is_sealed_too(make_bench: Make, acme: Any) -> None:
    bench = make_bench(task_protocol=1)
    look, seen = looking(bench)
    with acme:
        chain(look.si(), look.si())()
        look.apply_async((1,), link=look.s())
    bench.work()

    assert ["acme"] * 4 == seen


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
def test_arguments_of_any_type_are_as_they_were_when_they_arrive(make_bench: Make, acme: Any, serializer: str) -> None:
    bench = make_bench(task_serializer=serializer, accept_content=[serializer], result_serializer="json")
    look, seen = looking(bench)
    args: list[Any] = [1, 2.5, None, True, "\u00e4\U0001f600", (1, [2]), {"b": 1, "a": {"2": 3}}, float("inf"), 2**60]
    if serializer in ("json", "pickle"):
        args += [{1: "number", None: "no"}, Decimal("1.10"), UUID(int=7), date(2026, 11, 29), b"bytes\xff"]
        args += [datetime(2026, 11, 29, 10, tzinfo=UTC), "\ud800"]
    if serializer == "pickle":
        args += [{(1, 2): "as no JSON has it"}, timedelta(1), object]
    with acme:
        look.delay(*args, word=args)
    bench.work()

    assert ["acme"] == seen


def test_a_retry_is_sealed_again_with_what_it_changes(bench: Bench, acme: Any) -> None:
    seen: list[Any] = []

    @bench.task(bind=True, name="flaky", max_retries=3)
    def flaky(self: Any, number: int) -> None:
        seen.append((Current.tenant_id, number))
        if number < 3:
            raise self.retry(args=(number + 1,), countdown=0)

    with acme:
        flaky.delay(1)
    bench.work()

    assert [("acme", 1), ("acme", 2), ("acme", 3)] == seen


def test_what_follows_a_task_is_sealed_where_it_is_sent(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    failing_seen: list[Any] = []

    @bench.task(name="failing")
    def failing(*_: object) -> None:
        raise ZeroDivisionError

    @bench.task(name="told")
    def told(*_: object) -> None:
        failing_seen.append(Current.tenant_id)

    with acme:
        chain(look.si(), group(look.si(), look.si()), look.si())()
        look.apply_async(link=[look.si(), look.s(1)])
        failing.apply_async(link_error=told.si())
        look.map([1, 2]).apply_async()
        chord([look.si(), look.si()], look.s())()
    bench.work()

    assert ["acme"] * 12 == seen
    assert ["acme"] == failing_seen


def test_a_task_that_replaces_itself_and_what_a_task_sends_are_sealed(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)

    @bench.task(bind=True, name="replaced")
    def replaced(self: Any) -> None:
        look.apply_async(headers=dict(self.request.headers))
        with Current.switch("a copy", tenant_id="globex"):
            look.delay()
        raise self.replace(look.si())

    with acme:
        replaced.delay()
    bench.work()

    assert ["acme", "globex", "acme"] == seen


def test_an_entry_of_beat_is_sealed_when_its_message_leaves(bench: Bench) -> None:
    look, seen = looking(bench)
    with Current.system("nightly report"):
        headers = tenantjobs_celery.headers()
    assert "sig" not in headers["tenantjobs"]

    for _ in range(2):
        look.apply_async(headers=headers)
    look.apply_async(headers={"tenantjobs": json.loads(headers["tenantjobs"])})
    bench.work()

    assert ["system"] * 3 == seen


def test_a_message_that_is_delivered_twice_is_accepted_twice(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        look.delay()
    changed(bench, lambda headers, body: None, lambda headers, body: None)
    bench.work()

    assert ["acme", "acme"] == seen


def test_a_task_without_a_scope_has_a_seal_as_well(make_bench: Make) -> None:
    bench = make_bench("optional")
    look, seen = looking(bench)
    look.delay()
    (headers,) = bench.work()

    assert ["unset"] == seen
    assert headers["tenantjobs"].startswith('{"v":1,"sig":')


# what is not


def other_tenant(headers: dict[str, Any], _: list[Any]) -> None:
    headers["tenantjobs"] = headers["tenantjobs"].replace("acme", "globex")


def no_seal(headers: dict[str, Any], _: list[Any]) -> None:
    headers["tenantjobs"] = '{"v":1,"tenant_id":"globex"}'


def no_header(headers: dict[str, Any], _: list[Any]) -> None:
    del headers["tenantjobs"]


def an_object(headers: dict[str, Any], _: list[Any]) -> None:
    headers["tenantjobs"] = json.loads(headers["tenantjobs"])


def other_key(headers: dict[str, Any], _: list[Any]) -> None:
    headers["tenantjobs"] = headers["tenantjobs"].replace("2026-11:", "2025-01:")


def half_a_character(headers: dict[str, Any], _: list[Any]) -> None:
    headers["tenantjobs"] = headers["tenantjobs"].replace("2026-11:", "2026-11:\ud800")


def other_id(headers: dict[str, Any], _: list[Any]) -> None:
    headers["id"] = "other"


def other_arguments(_: dict[str, Any], body: list[Any]) -> None:
    body[0] = [1_000_000]


def other_keywords(_: dict[str, Any], body: list[Any]) -> None:
    body[1] = {"to": "me"}


def other_callback(_: dict[str, Any], body: list[Any]) -> None:
    body[2]["callbacks"] = [{"task": "other", "args": [], "kwargs": {}, "options": {}, "immutable": True}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_tenant, "changed on its way"),
        (no_seal, "is not signed"),
        (no_header, "is not signed"),
        (an_object, "is not signed"),
        (other_key, "'2025-01', and [signing] knows 2026-11"),
        (half_a_character, "changed on its way"),
        (other_arguments, "changed on its way"),
        (other_keywords, "changed on its way"),
        (other_callback, "changed on its way"),
    ],
)
@pytest.mark.parametrize("tenancy", ["required", "optional", "observe"])
def test_what_was_forged_or_changed_stops(make_bench: Make, acme: Any, change: Change, why: str, tenancy: Any) -> None:
    bench = make_bench(tenancy)
    look, seen = looking(bench)
    _, of_others = looking(bench, "other")
    with acme:
        sent = look.delay(1)
    changed(bench, change)

    assert why in refused(bench, sent.id)
    assert [] == seen == of_others


def test_another_id_or_another_task_does_not_fit_the_seal(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    _, of_others = looking(bench, "other")
    with acme:
        look.delay()
    changed(bench, other_id, lambda headers, _: headers.update(task="other", id="another"))

    assert "task look[other] was not signed" in refused(bench, "other")
    assert "task other[another] was not signed" in refused(bench, "another")
    assert [] == seen == of_others


def test_the_header_of_another_message_does_not_fit(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        look.delay()
    (of_acme,) = bench.waiting()
    with Current.set(tenant_id="globex"):
        sent = look.delay()
    changed(bench, lambda headers, _: headers.update(tenantjobs=of_acme.headers["tenantjobs"]))

    assert "changed on its way" in refused(bench, sent.id)
    assert [] == seen


def test_nothing_follows_a_task_that_was_forged(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    told: list[Any] = []

    @bench.task(name="told")
    def tell(request: Any, error: Any, traceback: Any) -> None:  # called where the task has failed, not sent
        told.append(error)

    signature = {"task": "told", "args": [], "kwargs": {}, "options": {}, "immutable": False}
    old_style = {"task": "look", "args": [], "kwargs": {}, "options": {}, "immutable": True}
    with acme:
        sent = look.delay()
    changed(bench, lambda _, body: body[2].update(errbacks=[signature, old_style], callbacks=[old_style]))

    refused(bench, sent.id)
    assert [] == seen == told


@pytest.mark.parametrize("name", ["celery.group", "celery.chain", "celery.chord", "celery.accumulate"])
def test_the_tasks_of_celery_itself_send_nothing_for_others(bench: Bench, name: str) -> None:
    look, seen = looking(bench)
    with Current.set(tenant_id="acme"):
        look.delay()

    def builtin(headers: dict[str, Any], body: list[Any]) -> None:
        headers.update(task=name, id="forged")

    changed(bench, builtin)

    assert f"task {name}[forged] was not signed" in refused(bench, "forged")
    assert [] == seen


# a roll-out


def test_while_it_is_observed_what_is_not_signed_runs_and_is_told(
    bench: Bench, acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look, seen = looking(bench)
    with acme:
        look.delay()
    with testing.override(signing={"mode": "observe"}):
        changed(bench, no_seal, no_header, lambda headers, _: None)
        bench.work()

    assert ["globex", "acme"] == seen  # the one without a header has no tenant, and fails of that
    assert caplog.text.count("mode is 'observe'") == 2


def test_without_keys_nothing_is_sealed_and_a_seal_is_no_obstacle(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        look.delay()
        with testing.override(signing={"mode": "off"}):
            look.delay()
            headers = bench.work()

    assert ["acme", "acme"] == seen
    assert '{"v":1,"tenant_id":"acme"}' == headers[1]["tenantjobs"]


def test_a_task_that_is_performed_where_it_is_called_needs_no_seal(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        look.apply()
        headers = tenantjobs_celery.headers()
    look.apply(headers=headers)
    with pytest.raises(TenantMissing):
        look.apply(throw=True)

    assert ["acme", "acme"] == seen
