from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tenantjobs import (
    GlobalId,
    Handle,
    discard_on,
    guard,
    idempotent,
    identity,
    job,
    later,
    perform_all_later,
    retry_on,
    testing,
)
from tenantjobs.definition import Definition, lookup
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


class Overnight(Delivery):
    def deliver(self, note: str = "") -> str:
        seen.append(("express", self.key, note))
        return "express"


MODELS: dict[str, type[Record]] = {"Delivery": Delivery, "Overnight": Overnight}


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
    Overnight(3).deliver_later("quick")
    testing.drain()

    assert seen == [("express", 3, "quick")]
    assert Overnight(3).deliver_now() == "express"  # type: ignore[attr-defined]  # planted at run time


def test_what_is_declared_stays_declared_for_a_method_that_a_test_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def unreachable(self: Delivery, note: str = "") -> str:
        attempts.append(self.key)
        if len(attempts) < 3:
            raise ConnectionError
        return note

    monkeypatch.setattr(Delivery, "deliver", unreachable)
    Delivery(1).deliver_later()

    assert testing.drain() == 3
    assert attempts == [1, 1, 1]


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


def test_each_of_many_records_is_the_job_of_its_own_class() -> None:
    class Registered(Delivery):
        @later(queue="registered")
        def deliver(self, note: str = "") -> str:
            seen.append(("registered", self.key, note))
            return "registered"

    MODELS["Registered"] = Registered
    Delivery.deliver_later.all([Delivery(1), Registered(2)])
    Delivery.deliver_later(Registered(3))
    Delivery.deliver_now(Registered(4))  # type: ignore[attr-defined]  # planted at run time

    assert [waiting.queue for waiting in enqueued_jobs()] == ["webhooks", "registered", "registered"]
    testing.drain()
    assert [method for method, *_ in seen] == ["registered", "deliver", "registered", "registered"]


@pytest.mark.parametrize("record", [None, "delivery", Record(1)])
def test_what_is_no_record_of_the_class_is_refused_at_the_call(record: Any) -> None:
    pair: Any = Delivery
    for enqueue in (
        lambda: pair.deliver_later.all([Delivery(1), record]),
        lambda: pair.deliver_later(record),
        lambda: pair.deliver_later.call(record),
        lambda: pair.adeliver_later(record),
        lambda: pair.deliver_now(record),
    ):
        with pytest.raises(TypeError, match=r"deliver: the record comes first, and .* is no Delivery"):
            enqueue()

    assert enqueued_jobs() == []


def test_options_that_are_set_in_two_steps_are_both_meant() -> None:
    Delivery(1).deliver_later.set(wait=60).set(queue="low")()
    Delivery.deliver_later.set(queue="low").set(priority=3).all([Delivery(1)])
    waiting, urgent = enqueued_jobs()

    assert (waiting.queue, waiting.due_at is None, urgent.queue, urgent.priority) == ("low", False, "low", 3)


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


@contextmanager
def refused(match: str) -> Iterator[None]:
    """ConfigurationError, which Python 3.11 wraps when it comes of ``__set_name__``."""
    with pytest.raises((ConfigurationError, RuntimeError)) as caught:
        yield
    error = caught.value if isinstance(caught.value, ConfigurationError) else caught.value.__cause__
    assert isinstance(error, ConfigurationError)
    assert re.search(match, str(error))


def test_a_name_that_the_class_uses_already_is_refused() -> None:
    with refused("send_later is there already"):

        class Bundle(Record):
            def send_later(self) -> str:
                return "mine"

            @later()
            def send(self) -> None: ...


def test_a_name_that_a_base_uses_already_is_refused() -> None:
    class Base(Record):
        send_now = True

    with refused("send_now is there already"):

        class Bundle(Base):
            @later()
            def send(self) -> None: ...


def test_the_optional_line_may_repeat_the_options_but_not_change_them() -> None:
    class Bundle(Record):
        @later(queue="low")
        def send(self) -> None: ...

        send_later = later(send, queue="low")

    with pytest.raises(ConfigurationError, match="declared twice"):

        class Other(Record):
            @later(queue="low")
            def send(self) -> None: ...

            send_later = later(send, queue="high")


def test_the_optional_line_has_the_name_of_the_convention() -> None:
    with refused("called send_later by convention"):

        class Bundle(Record):
            def send(self) -> None: ...

            post = later(send)


def test_a_method_without_a_place_for_its_record_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no parameter for the record"):
        later()(lambda: None)


def test_a_function_outside_of_classes_is_told_of_job() -> None:
    @later()
    def free(number: int) -> None: ...

    with pytest.raises(ConfigurationError, match=r"free is in none: for functions there is @job"):
        free(3)


def test_options_are_listed_once_where_none_is_like_the_given_one() -> None:
    with pytest.raises(ConfigurationError, match=r"there are after_create, aliases, choose_priority, "):
        later(zzz=1)  # type: ignore[call-overload]


def test_a_misspelt_option_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="did you mean after_create"):
        later(after_creat=True)  # type: ignore[call-overload]


def test_all_takes_the_options_of_one_call() -> None:
    Delivery.deliver_later.set(queue="low").all([Delivery(1), Delivery(2)], "bulk")

    assert [waiting.queue for waiting in enqueued_jobs()] == ["low", "low"]


def test_the_class_enqueues_for_a_record_with_options() -> None:
    Delivery.deliver_later.set(queue="low")(Delivery(1), "x")

    assert [waiting.queue for waiting in enqueued_jobs()] == ["low"]


async def test_async_callers_have_all_and_set_too() -> None:
    planted: Any = Delivery
    record: Any = Delivery(1)
    handles = await planted.adeliver_later.set(queue="low").all([Delivery(1), Delivery(2)], "bulk")
    await Delivery.deliver_later.aall([Delivery(3)], "bulk")
    await planted.adeliver_later(Delivery(4))
    await record.adeliver_later.set(queue="high")("x")

    assert len(handles) == 2
    assert [waiting.queue for waiting in enqueued_jobs()] == ["low", "low", "webhooks", "webhooks", "high"]


def test_arguments_that_do_not_fit_are_refused_where_the_call_is_written() -> None:
    with pytest.raises(TypeError, match=r"deliver.*too many"):
        Delivery(1).deliver_later.call("x", "y")  # type: ignore[call-arg]


class Sweeper:
    """A mixin that carries methods of the class."""

    @later(queue="sweeps", policies=[guard(lambda cls, limit: limit > 0)])
    @classmethod
    def sweep(cls, limit: int) -> None:
        seen.append((cls.__name__, limit))

    sweep_later = later(sweep)

    @later(name="sweeper.ping")
    @staticmethod
    def ping(count: int = 1) -> None:
        seen.append(("ping", count))

    ping_later = later(ping)


class Yard(Sweeper):
    @staticmethod
    def ping(count: int = 1) -> None:
        seen.append(("yard", count))


def test_class_methods_run_on_the_class_that_they_were_called_on() -> None:
    Sweeper.sweep_later(3)
    Yard.sweep_later.set(queue="low")(limit=4)
    Yard.sweep_later(0)
    testing.drain()

    assert seen == [("Sweeper", 3), ("Yard", 4)]


def test_static_methods_run_as_the_class_overrides_them() -> None:
    Sweeper.ping_later()
    Yard.ping_later(2)
    Yard().ping_later(3)
    testing.drain()

    assert seen == [("ping", 1), ("yard", 2), ("yard", 3)]


def test_a_worker_that_enqueued_nothing_knows_the_class_methods_of_subclasses(
    registry: dict[str, Definition],
) -> None:
    name = f"{__name__}.Yard.sweep"
    registry.pop(name, None)
    Sweeper.__dict__["sweep_later"].method._own.clear()

    assert lookup(name) is not None


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_later_under_another_decorator_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="write @later above"):

        class Bundle:
            @kind
            @later()
            def sweep(cls: Any) -> None: ...


class Patient:
    """A mixin of policies."""

    policies = (retry_on(ValueError, wait=0, attempts=2),)


@discard_on(KeyError)
class Forgiving: ...


class Parcel(Patient, Record):
    error: type[Exception] = ValueError

    @later()
    def post(self) -> None:
        seen.append(type(self).__name__)
        raise type(self).error("no")


class Lost(Forgiving, Parcel):
    error = KeyError


MODELS |= {"Parcel": Parcel, "Lost": Lost}


def test_policies_of_a_mixin_hold_for_the_methods_of_the_class() -> None:
    posting: Any = Parcel(1)
    posting.post_later()
    testing.drain()

    assert seen == ["Parcel", "Parcel"]


def test_policies_of_a_mixin_hold_for_what_a_subclass_inherits() -> None:
    posting: Any = Lost(1)
    posting.post_later()
    testing.drain()

    assert seen == ["Lost"]


def test_policies_on_an_override_hold_for_the_override() -> None:
    class Quick(Parcel):
        @discard_on(ValueError)
        def post(self) -> None:
            super().post()

    MODELS["Quick"] = Quick
    posting: Any = Quick(1)
    posting.post_later()
    testing.drain()

    assert seen == ["Quick"]


def test_an_override_may_call_the_method_of_its_base() -> None:
    class Louder(Delivery):
        @later(queue="loud")
        def deliver(self, note: str = "") -> str:
            return super().deliver(note.upper())

        def again(self) -> None:
            super().deliver_later("again")

    MODELS["Louder"] = Louder
    Louder(1).deliver_later("x")
    Louder(2).again()

    assert [waiting.queue for waiting in enqueued_jobs()] == ["loud", "webhooks"]
    testing.drain()
    assert seen == [("deliver", 1, "X"), ("deliver", 2, "AGAIN")]


def test_a_property_is_no_method() -> None:
    with pytest.raises(ConfigurationError, match="methods that take a record"):
        later()(property(lambda self: None))


@pytest.mark.parametrize(
    ("options", "method", "message"),
    [
        ({}, lambda self, note: None, "the record alone"),
        ({"enqueue_after_commit": False}, lambda self: None, "with the commit"),
        ({}, classmethod(lambda cls: None), "take a record"),
    ],
)
def test_what_cannot_run_after_creation_is_refused(options: Any, method: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        later(after_create=True, **options)(method)
