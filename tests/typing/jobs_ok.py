"""What users write, with the exact types that both checkers must see. Checked, never run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import assert_type

from tenantjobs import (
    Call,
    Handle,
    Job,
    JobFunction,
    after_perform,
    aperform_all_later,
    guard,
    idempotent,
    job,
    later,
    perform_all_later,
    retry_on,
)


@retry_on(ConnectionError, wait="polynomially_longer", attempts=5)
class ApplicationJob(Job):
    tenancy = "required"


class Materialize(ApplicationJob):
    queue = "backend"
    priority = 3
    name = "storage.materialize"
    aliases = ("MaterializeJob",)

    def perform(self, account: str, *, force: bool = False) -> int:
        return len(account) if force else 0


@job
def bare(user_id: int) -> str:
    return str(user_id)


@idempotent(key=lambda user_id: f"welcome:{user_id}")
@job(queue="mailers", priority=5, policies=[retry_on(OSError), guard(lambda user_id: user_id > 0)])
def send_welcome(user_id: int) -> str:
    return str(user_id)


@job()
async def fetch(url: str, self: int = 0) -> bytes:
    return url.encode()


assert_type(bare(1), str)
assert_type(bare.perform_now(1), str)
assert_type(bare.perform_later(1), Handle)
assert_type(send_welcome(1), str)
assert_type(send_welcome.perform_later(user_id=1), Handle)
assert_type(send_welcome.call(1), Call)
assert_type(send_welcome.set(wait=timedelta(hours=1), queue="low", priority=10).perform_later(7), Handle)
assert_type(Materialize.perform_later("acme", force=True), Handle)
assert_type(Materialize.perform_now("acme"), int)
assert_type(Materialize.set(wait=60).perform_later("acme"), Handle)
assert_type(perform_all_later([send_welcome.call(7), Materialize.call("acme")]), list[Handle])


async def enqueue() -> None:
    assert_type(await fetch("http://localhost"), bytes)
    assert_type(await fetch.perform_now("http://localhost", self=1), bytes)
    assert_type(await fetch.aperform_later("http://localhost"), Handle)
    assert_type(await Materialize.aperform_later("acme"), Handle)
    assert_type(await aperform_all_later([fetch.call("http://localhost")]), list[Handle])


def takes_a_job(target: JobFunction[[int], str]) -> str:
    return target(1)


takes_a_job(send_welcome)


class Report:
    @later(queue="reports", policies=[retry_on(OSError)])
    def export(self, path: str, limit: int = 10) -> int:
        return limit

    export_later = later(export)

    @later()
    async def build(self) -> None: ...

    build_later = later(build)


class Yearly(Report):
    def export(self, path: str, limit: int = 20) -> int:
        return limit


report = Yearly()
assert_type(report.export("/tmp/x"), int)
assert_type(report.export_later("/tmp/x", limit=3), Handle)
assert_type(report.export_later.set(wait=60)("/tmp/x"), Handle)
assert_type(Report.export_later.all([report], "/tmp/x"), list[Handle])
assert_type(report.build_later(), Handle)


class Hooked(Job):
    @after_perform
    def announce(self, number: int) -> None: ...

    def perform(self, number: int) -> None: ...


hook: Callable[..., object] = print
assert_type(Report.export_later.set(queue="low").all([report], "/tmp/x"), list[Handle])
assert_type(Report.export_later.set(queue="low")(report, "/tmp/x"), Handle)


class Sweeper:
    @later(queue="sweeps", after_create=False)
    @classmethod
    def sweep(cls, limit: int) -> str:
        return cls.__name__ * limit

    sweep_later = later(sweep)

    @later()
    @staticmethod
    def ping(count: int) -> int:
        return count

    def post(self, note: str) -> None: ...

    post_later = later(post, queue="mail")


assert_type(Sweeper.sweep(1), str)
assert_type(Sweeper.sweep_later(1), Handle)
assert_type(Sweeper.sweep_later.set(wait=3)(limit=1), Handle)
assert_type(Sweeper.ping(1), int)
assert_type(Sweeper().sweep_later.call(1), Call)
assert_type(Sweeper().post_later("x"), Handle)


async def enqueue_all() -> None:
    assert_type(await Report.export_later.aall([report], "/tmp/x"), list[Handle])
