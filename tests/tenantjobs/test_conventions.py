from __future__ import annotations

from typing import Any

import pytest

from tenantjobs import GlobalId, Handle, idempotent, identity, job, later, perform_all_later, retry_on, testing
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError
from tenantjobs.testing import enqueued_jobs

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []


class Record:
    """A record as a data layer would know it, by number."""

    def __init__(self, key: int) -> None:
        self.key = key


class Delivery(Record):
    @later(queue="webhooks", policies=[retry_on(ConnectionError, wait=0)])
    def deliver(self, note: str = "") -> str:
        seen.append(("deliver", self.key, note))
        return f"delivered {self.key}"

    deliver_later = later(deliver)

    def export(self, path: str) -> None:
        seen.append(("export", self.key, path))

    export_later = later(export)

    @later(name="delivery.sync", policies=[idempotent(key=lambda record: record.key)])
    async def sync(self) -> None:
        seen.append(("sync", self.key))


class Express(Delivery):
    def deliver(self, note: str = "") -> str:
        seen.append(("express", self.key, note))
        return "express"


MODELS = {"Delivery": Delivery, "Express": Express}


class Shelf:
    """A locator over the classes above; records are always found."""

    def identify(self, record: object) -> GlobalId | None:
        return GlobalId("app", type(record).__name__, (str(record.key),)) if isinstance(record, Record) else None

    def model_of(self, cls: type) -> str | None:
        return cls.__name__ if cls.__name__ in MODELS else None

    def knows(self, gid: GlobalId) -> bool:
        return gid.model in MODELS

    def locate(self, gid: GlobalId) -> object:
        return MODELS[gid.model](int(gid.key[0]))

    async def alocate(self, gid: GlobalId) -> object:
        return self.locate(gid)

    def tenant_of(self, record: object) -> str | None:
        return None


@pytest.fixture(autouse=True)
def shelf() -> Any:
    seen.clear()
    locator = Shelf()
    identity.register(locator)
    yield
    identity.unregister(locator)


def test_the_bare_method_stays_the_bare_method() -> None:
    assert Delivery(1).deliver("x") == "delivered 1"
    assert enqueued_jobs() == []


def test_later_enqueues_the_record_by_its_name() -> None:
    handle = Delivery(1).deliver_later("fast")
    (waiting,) = enqueued_jobs()

    assert isinstance(handle, Handle)
    assert (waiting.queue, waiting.args) == ("webhooks", (GlobalId("app", "Delivery", ("1",)), "fast"))

    testing.drain()

    assert seen == [("deliver", 1, "fast")]


def test_now_performs_with_the_declarations() -> None:
    assert Delivery(2).deliver_now("x") == "delivered 2"  # type: ignore[attr-defined]  # planted at run time


def test_what_a_subclass_overrides_is_what_runs() -> None:
    Express(3).deliver_later("quick")
    testing.drain()

    assert seen == [("express", 3, "quick")]
    assert Express(3).deliver_now() == "express"  # type: ignore[attr-defined]  # planted at run time


def test_options_of_one_call_are_set_before_it() -> None:
    Delivery(1).deliver_later.set(queue="low", wait=60)("x")
    (waiting,) = enqueued_jobs()

    assert waiting.queue == "low"
    assert waiting.due_at is not None


def test_all_enqueues_a_method_for_many_records() -> None:
    handles = Delivery.deliver_later.all([Delivery(1), Delivery(2)], "bulk")

    assert len(handles) == 2
    assert testing.drain() == 2
    assert seen == [("deliver", 1, "bulk"), ("deliver", 2, "bulk")]


def test_the_explicit_line_alone_makes_the_pair() -> None:
    Delivery(4).export_later("/tmp/x")
    Delivery(4).export_now("/tmp/y")  # type: ignore[attr-defined]  # planted at run time
    testing.drain()

    assert seen == [("export", 4, "/tmp/y"), ("export", 4, "/tmp/x")]


async def test_async_callers_have_a_twin() -> None:
    await Delivery(5).adeliver_later("x")  # type: ignore[attr-defined]  # planted at run time

    assert len(enqueued_jobs()) == 1


def test_both_spellings_are_one_job(registry: dict[str, Definition]) -> None:
    names = [name for name, definition in registry.items() if definition.source is Delivery.deliver]

    assert names == [f"{__name__}.Delivery.deliver"]
    assert "delivery.sync" in registry


def test_method_jobs_and_others_are_enqueued_together() -> None:
    @job
    def other() -> None: ...

    perform_all_later([Delivery(1).deliver_later.call("x"), other.call()])

    assert len(enqueued_jobs()) == 2


def test_without_parentheses_the_decorator_plants_the_same_names() -> None:
    class Bundle(Record):
        @later
        def send(self) -> None: ...

    assert callable(Bundle.send)
    assert Bundle.__dict__.keys() >= {"send_later", "send_now", "asend_later"}


def test_what_the_class_writes_itself_is_kept() -> None:
    class Bundle(Record):
        def send_later(self) -> str:
            return "mine"

        @later()
        def send(self) -> None: ...

    assert Bundle(1).send_later() == "mine"


@pytest.mark.parametrize("kind", [classmethod, staticmethod, property])
def test_what_takes_no_record_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="methods that take a record"):
        later()(kind(lambda cls: None))
