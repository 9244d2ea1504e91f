# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from celery import chain, group, signals
from celery.beat import Scheduler
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.schedules import schedule

import tenantjobs
import tenantjobs_celery
from tenantjobs import runtime, sentinel
from tenantjobs.errors import SerializationError, TenantGone, TenantMissing, TenantUnavailable
from tests.tenantjobs_celery.bench import Bench

Make = Callable[..., Bench]


class Current(tenantjobs.Current):
    celery_note: Any = None
    celery_local: Any = tenantjobs.attribute(default=None, carried=False)


class Account:
    id = "acme"


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


def looking(bench: Bench, **options: Any) -> tuple[Any, list[Any]]:
    """A task, and what each of its runs has seen."""
    seen: list[Any] = []

    @bench.task(name=options.pop("name", "look"), **options)
    def look(*_: object) -> str | None:
        seen.append(Current.tenant_id or Current.scope)
        return Current.tenant_id

    return look, seen


# what travels


def test_attributes_travel(bench: Bench) -> None:
    notes = []

    @bench.task
    def look() -> None:
        notes.append((Current.celery_note, Current.celery_local))

    with Current.set(tenant_id="acme", celery_note={"deep": [1, 2.5, None]}, celery_local="here"):
        look.delay()
    bench.work()

    assert [({"deep": [1, 2.5, None]}, None)] == notes


def test_where_tenants_are_observed_an_attribute_that_cannot_travel_is_logged(
    make_bench: Make, acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench("observe")
    look, seen = looking(bench)
    with acme, Current.set(celery_note=object()):
        look.delay()
    bench.work()

    assert ["unset"] == seen
    assert any("cannot travel" in record.getMessage() for record in caplog.records)


def test_an_attribute_that_cannot_travel_is_refused_at_the_call(bench: Bench, acme: Any) -> None:
    look, _ = looking(bench)

    with acme, Current.set(celery_note=object()):
        with pytest.raises(SerializationError, match=r"Current\.celery_note"):
            look.delay()
        with pytest.raises(SerializationError, match=r"Current\.celery_note"):
            bench.app.send_task("look")

    assert [] == bench.waiting()


def test_where_that_was_not_checked_the_task_fails(make_bench: Make, acme: Any) -> None:
    bench = make_bench()
    other = make_bench("observe", task_default_queue=bench.queue)
    _, seen = looking(bench)
    with acme, Current.set(celery_note=object()):
        sent = other.app.send_task("look")
    bench.work()

    assert [] == seen
    with pytest.raises(TenantMissing, match="SerializationError"):
        bench.app.AsyncResult(sent.id).get()


def test_protocol_1_carries_the_scope_too(make_bench: Make, acme: Any) -> None:
    bench = make_bench(task_protocol=1)
    look, seen = looking(bench)
    with Current.set(tenant_id="globex"):
        of_globex = tenantjobs_celery.headers()
    with acme:
        chain(look.si(), look.si())()
        look.apply_async(headers=of_globex, link=look.s())
    bench.work()

    assert ["acme", "globex", "acme", "acme"] == seen


def test_headers_passed_on_from_the_running_task_do_not_choose_its_tenant(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)

    @bench.task(bind=True)
    def passing_on(self: Any) -> None:
        headers = dict(self.request.headers)
        look.apply_async(headers=headers)
        with Current.switch("a copy for globex", tenant_id="globex"):
            look.apply_async(headers=headers)

    with acme:
        passing_on.delay()
    headers = bench.work()

    assert ["acme", "globex"] == seen
    assert '{"v":1,"tenant_id":"globex"}' == headers[-1]["tenantjobs"]


def test_headers_that_say_a_scope_choose_it(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with Current.set(tenant_id="globex"):
        headers = tenantjobs_celery.headers()

    with acme:
        look.apply_async(headers=headers)
    bench.work()

    assert ["globex"] == seen


def test_entries_of_beat_carry_what_their_options_say(bench: Bench) -> None:
    _, seen = looking(bench)
    with Current.system("nightly report"):
        options = {"headers": tenantjobs_celery.headers()}
    scheduler = Scheduler(app=bench.app, lazy=True)
    entry = scheduler.Entry(name="nightly", task="look", schedule=schedule(60), options=options, app=bench.app)
    for _ in range(2):
        scheduler.apply_async(entry, advance=False)
    bench.work()

    assert ["system", "system"] == seen


def tick(bench: Bench) -> None:
    """What beat does when every entry is due, twice, as after a day."""
    scheduler = Scheduler(app=bench.app, lazy=True)
    for _ in range(2):
        for entry in scheduler.merge_inplace(bench.app.conf.beat_schedule) or scheduler.schedule.values():
            scheduler.apply_async(entry, advance=False)


@pytest.mark.parametrize("configured", [True, False])
def test_entries_of_beat_carry_the_scope_that_they_were_added_in(bench: Bench, acme: Any, configured: bool) -> None:
    look, seen = looking(bench)
    if configured:
        assert bench.app.conf.timezone is None
    with acme:
        bench.app.add_periodic_task(60, look.s(), name="a signature")
        bench.app.add_periodic_task(60, look, (1,), {}, "a task", headers={"color": "blue"})
        with Current.switch("for all", tenant_id="globex"):
            chosen = tenantjobs_celery.headers()
        bench.app.add_periodic_task(60, look.s().set(headers=chosen), name="its own scope")
    tick(bench)
    headers = bench.work()

    assert sorted(["acme", "acme", "globex"] * 2) == sorted(seen)  # beat keeps its entries in a set
    assert ["blue", "blue"] == [each["color"] for each in headers if "color" in each]


def test_entries_of_beat_without_a_scope_follow_the_policy(make_bench: Make) -> None:
    bench = make_bench()
    look, seen = looking(bench)
    bench.app.add_periodic_task(60, look.s(), name="bare")
    bench.app.conf.beat_schedule["declared"] = {"task": "look", "schedule": 60}
    tick(bench)
    bench.work()

    assert [] == seen


def test_an_entry_of_beat_fans_out_to_each_tenant(bench: Bench) -> None:
    look, seen = looking(bench)

    @bench.task
    def for_each_tenant() -> None:
        for tenant_id in ("acme", "globex"):
            with Current.set(tenant_id=tenant_id):
                look.delay()

    with Current.system("nightly report"):
        bench.app.add_periodic_task(60, for_each_tenant.s())
    tick(bench)
    bench.work()

    assert ["acme", "globex"] * 2 == seen


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_retry_keeps_the_empty_scope_that_it_came_with(make_bench: Make, protocol: int) -> None:
    bench = make_bench("optional", task_protocol=protocol)
    seen: list[Any] = []

    @bench.task(bind=True, default_retry_delay=0)
    def again(self: Any) -> None:
        seen.append(Current.scope)
        if self.request.retries == 0:
            with Current.set(tenant_id="acme"):
                raise self.retry()

    again.delay()
    bench.work()

    assert ["unset", "unset"] == seen


def test_a_replacement_is_a_call_like_any_other(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)

    @bench.task(bind=True)
    def replaced(self: Any) -> None:
        with Current.switch("a copy for globex", tenant_id="globex"):
            raise self.replace(look.s())

    with acme:
        replaced.delay()
    bench.work()

    assert ["globex"] == seen


@pytest.mark.tenantjobs_leaks
def test_what_follows_a_task_keeps_its_scope_whatever_the_task_leaves_open(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)

    @bench.task
    def leaving_open() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()

    with acme:
        chain(leaving_open.si(), look.si(), group(look.si(), look.si()))()
        leaving_open.apply_async(link=look.si())
    bench.work()

    assert ["acme"] * 4 == seen


# what comes without


def test_a_task_without_a_tenant_fails_and_is_not_run(bench: Bench) -> None:
    look, seen = looking(bench)
    sent = look.delay()
    bench.work()

    assert [] == seen
    assert "FAILURE" == sent.state
    with pytest.raises(TenantMissing, match=f"task look\\[{sent.id}\\] came without a tenant"):
        sent.get()


def test_system_scope_is_enough(bench: Bench) -> None:
    look, seen = looking(bench)
    with Current.system("nightly cleanup"):
        look.delay()
    bench.work()

    assert ["system"] == seen


def test_where_a_tenant_is_optional_the_task_runs_without(make_bench: Make, acme: Any) -> None:
    bench = make_bench("optional")
    look, seen = looking(bench)
    look.delay()
    with acme:
        look.delay()
    look.delay()
    bench.work()

    assert ["unset", "acme", "unset"] == seen


def test_where_tenants_are_observed_it_runs_with_a_warning(make_bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make_bench("observe")
    look, seen = looking(bench)
    look.delay()
    look.apply_async(headers={"tenantjobs": "odd"})
    bench.work()

    assert ["unset", "unset"] == seen
    warnings = [record.getMessage() for record in caplog.records if record.name == "tenantjobs.carriage"]
    assert len(warnings) == 2
    assert "came without a tenant" in warnings[0]
    assert "cannot be read" in warnings[1]


@pytest.mark.parametrize("tenancy", ["required", "optional"])
def test_a_scope_that_cannot_be_read_fails_the_task(make_bench: Make, tenancy: str) -> None:
    bench = make_bench(tenancy)
    look, seen = looking(bench)
    sent = look.apply_async(headers={"tenantjobs": {"v": 2, "tenant_id": "acme"}})
    bench.work()

    assert [] == seen
    with pytest.raises(TenantMissing, match="of version 2"):
        sent.get()


def test_a_tenant_that_is_gone_fails_the_task(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with acme:
        sent = look.delay()
    with runtime.override(tenant_locator=lambda tenant_id: None):
        bench.work()

    assert [] == seen
    with pytest.raises(TenantGone):
        sent.get()


def test_a_tenant_that_cannot_be_looked_up_fails_the_task(bench: Bench, acme: Any) -> None:
    def down(tenant_id: str) -> object:
        raise ConnectionError("no route to the store")

    look, seen = looking(bench)
    with acme:
        sent = look.delay()
    with runtime.override(tenant_locator=down):
        bench.work()

    assert [] == seen
    with pytest.raises(TenantUnavailable, match="no route"):
        sent.get()


def test_a_tenant_that_is_there_is_located_before_the_task(bench: Bench, acme: Any) -> None:
    tenants = []

    @bench.task
    def look() -> None:
        tenants.append(Current.tenant)

    account = Account()
    with acme:
        look.delay()
    with runtime.override(tenant_locator={"acme": account}.get):
        bench.work()

    assert [account] == tenants


@pytest.mark.parametrize("name", ["backend_cleanup", "accumulate"])
def test_housekeeping_runs_without_a_tenant(bench: Bench, name: str) -> None:
    sent = bench.app.tasks[f"celery.{name}"].delay()
    bench.work()

    assert "SUCCESS" == sent.state


def test_a_chord_is_unlocked_in_the_scope_of_its_call(bench: Bench, tmp_path: Any, acme: Any) -> None:
    bench.app.conf.result_backend = f"file://{tmp_path}"  # a backend that cannot count, and polls
    bench.app.conf.result_chord_retry_interval = 0
    look, seen = looking(bench, name="header")
    body, body_seen = looking(bench, name="body")
    with acme:
        (group(look.si(), look.si()) | body.s())()
    headers = bench.work()

    assert ["acme", "acme"] == seen
    assert ["acme"] == body_seen
    unlocking = [each for each in headers if each["task"] == "celery.chord_unlock"]
    assert unlocking
    assert all(each["tenantjobs"] == '{"v":1,"tenant_id":"acme"}' for each in unlocking)


@pytest.mark.parametrize("way", ["map", "starmap"])
def test_built_in_tasks_that_run_the_bodies_of_others_need_a_tenant(bench: Bench, way: str) -> None:
    look, seen = looking(bench)
    sent = getattr(look, way)([(1,), (2,)]).delay()
    bench.work()

    assert [] == seen
    assert "FAILURE" == sent.state


# what does not stay


@pytest.mark.tenantjobs_leaks
@pytest.mark.parametrize(
    "error", [None, ValueError, Ignore, Reject, SoftTimeLimitExceeded, SystemExit, KeyboardInterrupt], ids=str
)
def test_nothing_stays_however_the_task_ends(bench: Bench, acme: Any, error: Any, caplog: Any) -> None:
    @bench.task(name="leaving_open")
    def leaving_open() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()
        Current.set(celery_note="LEAK").__enter__()
        if error is not None:
            raise error

    with acme:
        leaving_open.delay()
    with suppress(SystemExit, KeyboardInterrupt):
        bench.work()

    assert "unset" == Current.scope
    assert Current.celery_note is None
    assert any("left a scope of Current open" in record.getMessage() for record in caplog.records)


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_watches_native_tasks(bench: Bench, acme: Any) -> None:
    @bench.task(name="leaving_open")
    def leaving_open() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()

    look, _ = looking(bench)
    with acme:
        sent = leaving_open.delay()
        look.delay()
    with sentinel.watch() as watching:
        bench.work()

    (leak,) = watching.leaks
    assert ("context", f"task leaving_open[{sent.id}]", "acme") == (leak.kind, leak.job, leak.tenant_id)


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_watches_eager_tasks_as_a_part_of_their_caller(bench: Bench, acme: Any) -> None:
    watched = []

    @bench.task(name="leaving_open")
    def leaving_open() -> None:
        watched.append(sentinel.watching())
        Current.switch("never left", tenant_id="LEAK").__enter__()

    with acme, sentinel.watch() as watching:
        leaving_open.apply()

    (leak,) = watching.leaks
    assert ("context", "acme") == (leak.kind, leak.tenant_id)
    assert [leak.job] == [each.name for each in watched if each is not None]


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_that_raises_fails_the_task_and_leaves_nothing_open(bench: Bench, acme: Any) -> None:
    @bench.task(name="reading")
    def reading() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()
        sentinel.found("foreign row", "read a row of globex")

    with acme:
        sent = reading.delay()
    with sentinel.watch("raise"):
        bench.work()

    with pytest.raises(sentinel.TenantLeak, match="read a row of globex"):
        sent.get()
    assert "unset" == Current.scope
    assert sentinel.watching() is None


def test_the_scope_around_a_worker_is_hidden_from_its_tasks_and_stays(make_bench: Make) -> None:
    bench = make_bench("optional")
    look, seen = looking(bench)
    look.delay()
    with Current.set(tenant_id="operator", celery_note="kept"):
        bench.work()
        after = (Current.tenant_id, Current.celery_note)

    assert ["unset"] == seen
    assert ("operator", "kept") == after


def test_callbacks_on_the_task_see_its_scope(bench: Bench, acme: Any) -> None:
    seen: list[Any] = []

    class Watched(bench.app.Task):  # type: ignore[name-defined, misc]  # celery has no types
        def on_failure(self, *_: object) -> None:
            seen.append(("on_failure", Current.tenant_id))

        def on_success(self, *_: object) -> None:
            seen.append(("on_success", Current.tenant_id))

        def after_return(self, *_: object) -> None:
            seen.append(("after_return", Current.tenant_id))

    @bench.task(base=Watched)
    def works() -> None: ...

    @bench.task(base=Watched)
    def fails() -> None:
        raise ValueError

    with acme:
        works.delay()
        fails.delay()
    bench.work()

    assert [(name, "acme") for name in ("on_success", "after_return", "on_failure", "after_return")] == seen


def test_a_revoked_task_is_announced_in_its_scope(bench: Bench, acme: Any) -> None:
    look, _ = looking(bench)
    seen: list[Any] = []

    def revoked(**_: object) -> None:
        seen.append(Current.tenant_id)

    with acme:
        look.apply_async(expires=0.01)
    [message] = bench.waiting()
    signals.task_revoked.connect(revoked)
    message.headers["expires"] = "2001-01-01T00:00:00+00:00"

    assert bench.request(message).revoked()
    assert ["acme"] == seen


# eager


def test_an_eager_task_has_the_scope_of_its_call_and_its_objects(make_bench: Make) -> None:
    bench = make_bench(task_always_eager=True)
    account, found = Account(), []

    @bench.task
    def look() -> None:
        found.append((Current.tenant, Current.celery_local))

    with Current.set(tenant=account, celery_local="here"):
        look.delay()
        look.apply()
        chain(look.si(), look.si())()

    assert [(account, "here")] * 4 == found


@pytest.mark.tenantjobs_leaks
def test_an_eager_task_leaves_the_scope_of_its_call_as_it_was(bench: Bench, acme: Any) -> None:
    @bench.task
    def leaving_open() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()

    with acme:
        leaving_open.apply()
        after = Current.tenant_id

    assert "acme" == after
    assert "unset" == Current.scope


def test_an_eager_task_without_a_tenant_fails_at_the_call(make_bench: Make) -> None:
    bench = make_bench(task_always_eager=True, task_eager_propagates=True)
    look, seen = looking(bench)

    with pytest.raises(TenantMissing):
        look.delay()
    assert [] == seen


def test_an_eager_task_may_be_given_another_scope_by_its_headers(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)
    with Current.set(tenant_id="globex"):
        headers = tenantjobs_celery.headers()
    with acme:
        look.apply(headers=headers)
        after = Current.tenant_id

    assert ["globex"] == seen
    assert "acme" == after


def test_an_eager_task_inside_a_task_is_part_of_it(bench: Bench, acme: Any) -> None:
    look, seen = looking(bench)

    @bench.task
    def outer() -> None:
        look.apply()
        with Current.switch("a copy for globex", tenant_id="globex"):
            look.apply()
        seen.append(Current.tenant_id)

    with acme:
        outer.delay()
    bench.work()

    assert ["acme", "globex", "acme"] == seen


def test_a_task_that_is_called_is_a_function(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    look, seen = looking(bench)

    look()

    assert ["unset"] == seen
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]
