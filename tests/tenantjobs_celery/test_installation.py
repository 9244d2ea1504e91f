from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, current_app, shared_task, signals

import tenantjobs_celery
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, TenantMissing
from tests.tenantjobs_celery.bench import Bench

Make = Callable[..., Bench]


def test_a_second_call_changes_nothing(bench: Bench) -> None:
    receivers = len(signals.worker_init.receivers)
    before = vars(bench.app).copy()

    tenantjobs_celery.install(bench.app)

    assert receivers == len(signals.worker_init.receivers)
    assert before == vars(bench.app)


def test_a_second_call_with_another_policy_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match="decide for one"):
        tenantjobs_celery.install(bench.app, tenancy="observe")


def test_an_unknown_policy_is_refused(make_bench: Make) -> None:
    with pytest.raises(ConfigurationError, match="required, optional, observe"):
        make_bench("none")


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes the Celery app"):
        tenantjobs_celery.install("shop.celery:app")


def test_the_current_app_is_the_one_that_is_current_now(make_bench: Make) -> None:
    first, second = make_bench(None), make_bench(None)
    first.app.set_current()
    tenantjobs_celery.install(current_app)
    second.app.set_current()

    assert refuses(first.task(whom, name="whom"))
    assert second.task(whom, name="whom").apply(throw=True).get() is None


def test_a_second_call_with_another_moment_of_sending_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match="decide for one"):
        tenantjobs_celery.install(bench.app, after_commit=True)


def test_the_configuration_is_not_read_before_it_is_needed() -> None:
    app = Celery("lazy", set_as_current=False, config_source="no.such.module")

    tenantjobs_celery.install(app)

    assert not app.configured


def test_a_message_of_an_empty_scope_is_what_it_was(make_bench: Make) -> None:
    def published(bench: Bench) -> Any:
        callback = bench.app.signature("other", (2,))
        bench.app.send_task("any", (1,), task_id="1", link=[callback], root_id="1", reply_to="me", origin="me")
        [message] = bench.waiting()
        return message.headers, message.body, sorted(message.properties)

    assert published(make_bench(None)) == published(make_bench())


def refuses(task: Any) -> bool:
    with pytest.raises(TenantMissing):
        task.apply(throw=True)
    with Current.set(tenant_id="acme"):
        return bool(task.apply(throw=True).get() == "acme")


def whom(*_: object) -> str | None:
    return Current.tenant_id


@pytest.mark.parametrize("moment", ["before", "bound before", "after", "after it was finalized"])
def test_tasks_have_a_gate_whenever_they_are_made(make_bench: Make, moment: str) -> None:
    bench = make_bench(None)
    app = bench.app
    if "before" in moment:
        task = bench.task(whom, name="whom")
    if moment == "bound before":
        assert task.name == "whom"
    tenantjobs_celery.install(app)
    if moment == "after it was finalized":
        app.finalize()
    if "after" in moment:
        task = bench.task(whom, name="whom")

    assert refuses(task)


def test_shared_tasks_have_a_gate(make_bench: Make) -> None:
    shared_task(whom, name="tests.celery.shared_whom")

    assert refuses(make_bench().app.tasks["tests.celery.shared_whom"])


def test_classes_have_a_gate_and_so_have_their_subclasses(bench: Bench) -> None:
    class Parent(bench.app.Task):  # type: ignore[name-defined, misc]  # celery has no types
        name = "parent"

        def run(self) -> str | None:
            return Current.tenant_id

    parent = bench.app.register_task(Parent())

    class Child(Parent):
        name = "child"

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            pass  # and no super(): Celery annotates no subclass of a task that is bound

    child = bench.app.register_task(Child())
    signals.worker_init.send(sender=type("Worker", (), {"app": bench.app}))

    assert refuses(parent)
    assert refuses(child)


def test_a_hook_that_calls_the_one_of_its_base_class_by_name_passes_its_gate(bench: Bench) -> None:
    class Parent(bench.app.Task):  # type: ignore[name-defined, misc]  # celery has no types
        name = "parent"

        def run(self) -> str | None:
            return Current.tenant_id

    bench.app.register_task(Parent())

    class Child(Parent):
        name = "child"

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            Parent.before_start(self, task_id, args, kwargs)

    assert refuses(bench.app.register_task(Child()))


def test_tasks_that_were_run_before_have_a_gate(make_bench: Make) -> None:
    bench = make_bench(None)
    task = bench.task(whom, name="whom")
    sent = task.delay()
    bench.work()
    assert sent.state == "SUCCESS"

    tenantjobs_celery.install(bench.app)
    sent = task.delay()
    bench.work()

    assert sent.state == "FAILURE"


def seen_by(note: list[Any], name: str) -> Callable[..., None]:
    def hook(self: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note.append((name, Current.tenant_id))

    return hook


def test_a_hook_of_the_users_runs_behind_the_gate(bench: Bench) -> None:
    note: list[Any] = []
    task = bench.task(whom, name="whom", before_start=seen_by(note, "own"))

    assert refuses(task)
    assert [("own", "acme")] == note


@pytest.mark.parametrize("where", ["*", "whom"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_annotations_of_the_user_stay(make_bench: Make, where: str, when: str) -> None:
    note: list[Any] = []

    def around(original: Any) -> Any:
        def hook(self: Any, task_id: str, args: Any, kwargs: Any) -> None:
            note.append(("annotated", Current.tenant_id))
            original(self, task_id, args, kwargs)

        return hook

    annotations = {where: {"@before_start": around, "rate_limit": "7/s"}}
    bench = make_bench(None)
    app = bench.app
    if when == "before":
        app.conf.task_annotations = annotations
    tenantjobs_celery.install(app)
    if when == "after":
        app.conf.task_annotations = annotations
    task = bench.task(whom, name="whom", before_start=seen_by(note, "own"))

    assert refuses(task)
    assert [("annotated", "acme"), ("own", "acme")] == note
    assert "7/s" == task.rate_limit


def test_a_request_class_of_the_users_is_kept_and_covered(bench: Bench) -> None:
    from celery.worker.request import Request

    seen: list[Any] = []

    class Own(Request):  # type: ignore[misc]  # celery has no types
        def on_timeout(self, soft: bool, timeout: float) -> None:
            seen.append((soft, Current.tenant_id))

    task = bench.task(whom, name="whom", Request=Own)
    with Current.set(tenant_id="acme"):
        task.delay()
    [message] = bench.waiting()
    request = bench.request(message)
    request.on_timeout(True, 1)

    assert isinstance(request, Own)
    assert [(True, "acme")] == seen
    assert "unset" == Current.scope


def test_receivers_of_the_user_see_the_scope_wherever_they_were_connected(make_bench: Make) -> None:
    seen: list[Any] = []

    def early(signal: Any, **_: object) -> None:
        seen.append((signal.name, Current.tenant_id))

    def late(signal: Any, **_: object) -> None:
        seen.append((signal.name, Current.tenant_id))

    both = [signals.task_prerun, signals.task_postrun, signals.task_success]
    for signal in both:
        signal.connect(early)
    bench = make_bench()
    for signal in both:
        signal.connect(late)
    task = bench.task(whom, name="whom")
    with Current.set(tenant_id="acme"):
        task.delay()

    bench.work()

    for signal in both:
        signal.disconnect(early)
        signal.disconnect(late)
    assert [(signal.name, "acme") for signal in (both[0], both[2], both[1]) for _ in range(2)] == seen
