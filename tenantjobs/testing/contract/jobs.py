"""The jobs of the kit. Each leaves a trace of what it did; their names are their own, for they share a registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

import tenantjobs
from tenantjobs.batches import current_batch
from tenantjobs.conventions import later
from tenantjobs.current import Current
from tenantjobs.errors import Abort, Interruption
from tenantjobs.handlers import discard_on, retry_on
from tenantjobs.hooks import around_perform, before_enqueue, before_perform
from tenantjobs.idempotency import idempotent
from tenantjobs.jobs import Job, job
from tenantjobs.limits import limits_concurrency
from tenantjobs.running import JobContext, current_job
from tenantjobs.steps import step
from tenantjobs.testing.contract.effects import folder, record, wait_for_file, wait_for_others
from tenantjobs.uniqueness import unique


class ContractCurrent(tenantjobs.Current):
    """An attribute that travels beside the tenant."""

    contract_request: str | None = None


def locate_tenant(tenant_id: str) -> str | None:
    """Every tenant but ``gone`` exists."""
    return None if tenant_id == "gone" else tenant_id


class Level(Enum):
    LOW = 1
    HIGH = 2


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int

    @later(name="contract.drawn")
    def draw(self, label: str) -> None:
        record("drawn", [self.x, self.y, label])

    draw_later = later(draw)


@job(name="contract.note")
def note(value: Any = None) -> None:
    record("note", value)


@job(name="contract.answering", keep_result=True)
def answering(value: Any) -> Any:
    record("answering", value)
    return value


@job(name="contract.optional", tenancy="optional")
def optional(value: Any = None) -> None:
    record("optional", value)


@job(name="contract.of_the_system", tenancy="none")
def of_the_system() -> None:
    record("of_the_system")


@job(name="contract.anote")
async def anote(value: Any = None) -> None:
    record("anote", value)


class NotedByClass(Job):
    name = "contract.by_class"

    def perform(self, first: int, *, second: str) -> None:
        record("by_class", [first, second])


@job(name="contract.with_attributes", tenancy="optional")
def with_attributes() -> None:
    record("with_attributes", ContractCurrent.contract_request)


@job(name="contract.typed")
def typed(
    values: list[Any], moment: datetime, day: date, span: timedelta, amount: Decimal, id: UUID, level: Level, at: Point
) -> None:
    record("typed", described([values, moment, day, span, amount, id, level, at]))


def described(value: Any) -> str:
    """A text that differs as soon as a value or a type inside differs."""
    kind = type(value).__qualname__
    if isinstance(value, dict):
        return f"{kind}({', '.join(f'{described(key)}: {described(item)}' for key, item in value.items())})"
    if isinstance(value, (list, tuple)):
        return f"{kind}({', '.join(map(described, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({', '.join(sorted(map(described, value)))})"
    return f"{kind}({value!r})"


@job(name="contract.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=5)])
def flaky(failures: int, value: Any) -> None:
    record("flaky", value)
    if _attempt() <= failures:
        raise ConnectionError("as asked for")


@job(name="contract.patient", policies=[retry_on(ConnectionError, wait=[1.5], attempts=3)])
def patient() -> None:
    record("patient")
    if _attempt() == 1:
        raise ConnectionError("as asked for")


def on_discard(error: BaseException) -> None:
    record("handler", str(error))


@job(name="contract.called_back")
def called_back(name: str) -> None:
    batch = current_batch()
    assert batch is not None, "it is called back by a batch"
    record("called_back", [name, batch.properties["file"], batch.done, batch.failed])


@job(name="contract.discarded", policies=[discard_on(LookupError, then=on_discard)])
def discarded() -> None:
    record("discarded")
    raise LookupError("not worth it")


@job(name="contract.exhausted", policies=[retry_on(ConnectionError, wait=0, attempts=3, then=on_discard)])
def exhausted() -> None:
    record("exhausted")
    raise ConnectionError("never up")


@job(name="contract.failing")
def failing() -> None:
    record("failing")
    raise RuntimeError("the contract asks for this failure")


@job(name="contract.leaving")
def leaving() -> None:
    record("leaving")
    Current.switch("never left", tenant_id="LEAK").__enter__()


@job(name="contract.nesting")
def nesting(queue: str) -> None:
    record("nesting")
    note.set(queue=queue).perform_later("nested")


@job(name="contract.once", policies=[idempotent(key=lambda number: f"contract:{number}")])
def once_only(number: int) -> None:
    record("once_only", number)


@job(name="contract.unique", policies=[unique("until_executed", key=lambda number: number)])
def only_one(number: int) -> None:
    record("only_one", number)


@job(name="contract.held_alone", policies=[unique("until_and_while_executing", ttl=3)])
def held_alone() -> None:
    record("started")
    wait_for_file("release")
    record("finished")


@job(name="contract.limited", policies=[limits_concurrency(to=2, duration=3)])
def limited(number: int, *, together: int = 1) -> None:
    record("started", number)
    if number == 0:
        wait_for_file("release")
    wait_for_others("started", together)
    time.sleep(0.1)
    record("finished", number)


@job(name="contract.held")
def held() -> None:
    record("started")
    wait_for_file("release")
    record("finished")


@job(name="contract.moved")
def moved(queue: str) -> None:
    record("moved")
    if _attempt() == 1:
        _running().retry(queue=queue)


@job(name="contract.hurried", policies=[retry_on(ConnectionError, wait=0, priority=3)])
def hurried() -> None:
    record("hurried", _running().priority)
    if _attempt() == 1:
        raise ConnectionError("as asked for")


@job(name="contract.interrupted")
def interrupted() -> None:
    record("interrupted")
    if not (folder() / "interrupted").exists():
        (folder() / "interrupted").touch()
        raise Interruption("as asked for")


@job(name="contract.stepwise", policies=[retry_on(ConnectionError, wait=0)])
def stepwise() -> None:
    for _ in step("first"):
        record("first")
    for _ in step("second"):
        record("second")
        if _attempt() == 1:
            raise ConnectionError("as asked for")


@job(name="contract.killed_in_steps")
def killed_in_steps() -> None:
    for _ in step("first"):
        record("first")
    for _ in step("second"):
        record("second")
        wait_for_file("release")
    record("finished")


@job(name="contract.counted")
def counted() -> None:
    for cursor in step("count", start=0):
        if not _running().resumptions:
            record("started")
        while not _running().resumptions:
            cursor.advance()
            time.sleep(0.01)
        record("resumed", cursor.value)


def around(*, wanted: str) -> Iterator[None]:
    record("around in", wanted)
    yield
    record("around out", wanted)


def refuse(*, wanted: str) -> None:
    if wanted == "performed":
        raise Abort("as asked for")


@job(
    name="contract.hooked",
    policies=[
        before_enqueue(lambda *, wanted: record(f"before enqueue of {wanted}")),
        before_perform(refuse),
        around_perform(around),
    ],
)
def hooked(*, wanted: str) -> None:
    record(wanted)


@job(name="contract.slow", timeout=0.3, policies=[retry_on(TimeoutError, wait=0)])
def slow() -> None:
    record("slow")
    if _attempt() == 1:
        wait_for_file("never")


@job(name="contract.aslow", timeout=0.3, policies=[retry_on(TimeoutError, wait=0)])
async def aslow() -> None:
    record("aslow")
    if _attempt() == 1:
        await asyncio.sleep(3600)


def _attempt() -> int:
    return _running().attempt


def _running() -> JobContext:
    running = current_job()
    assert running is not None, "a job of the kit is performed by a worker"
    return running
