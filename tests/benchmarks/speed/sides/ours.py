"""The database queue as it is by default: fair, with tenants, finished jobs kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tenantjobs import Current, adapter, configure, job, perform_all_later
from tenantjobs.adapter import WorkOptions
from tenantjobs.call import Call
from tenantjobs.jobs import JobFunction
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts


class Ours:
    def __init__(self, setting: Setting, starts: Starts) -> None:
        self._setting = setting
        self._starts = starts
        self._job = _awaiting(starts, setting.seconds) if setting.coroutines else _blocking(starts, setting.seconds)
        configure(adapter="db", tenancy="required", db={"url": setting.url, "synchronous": setting.synchronous})

    def install(self) -> None:
        schema.upgrade(self._adapter.database.engine)

    def enqueue(self, number: int) -> None:
        with Current.set(tenant_id=self._tenant(number)):
            self._job.perform_later(number)

    def enqueue_in_bulk(self, numbers: range) -> None:
        perform_all_later(self._calls(numbers))

    def _calls(self, numbers: range) -> Iterable[Call]:
        for first in range(min(self._setting.tenants, len(numbers))):
            with Current.set(tenant_id=self._tenant(numbers[first])):
                yield from [self._job.call(number) for number in numbers[first :: self._setting.tenants]]

    async def aopen(self) -> None: ...

    async def aenqueue(self, number: int) -> None:
        with Current.set(tenant_id=self._tenant(number)):
            await self._job.aperform_later(number)

    def work(self) -> None:
        self._starts.wait_at_the_gate()
        self._adapter.work(WorkOptions(queues=("default",), threads=self._setting.at_once))

    @property
    def _adapter(self) -> DatabaseAdapter:
        found = adapter.configured()
        assert isinstance(found, DatabaseAdapter)
        return found

    def _tenant(self, number: int) -> str:
        return f"tenant-{number % self._setting.tenants}"


def _blocking(starts: Starts, seconds: float) -> JobFunction[[int], object]:
    @job(name="speed.noop")
    def noop(number: int) -> None:
        starts.record(number)

    @job(name="speed.wait")
    def wait(number: int) -> None:
        starts.record(number)
        time.sleep(seconds)

    return wait if seconds else noop


def _awaiting(starts: Starts, seconds: float) -> JobFunction[[int], object]:
    @job(name="speed.noop")
    async def noop(number: int) -> None:
        starts.record(number)

    @job(name="speed.wait")
    async def wait(number: int) -> None:
        starts.record(number)
        await asyncio.sleep(seconds)

    return wait if seconds else noop


SIDE = Ours
