"""PgQueuer on asyncpg, as its documentation runs it; enqueued by its synchronous queries on psycopg."""

from __future__ import annotations

import asyncio
from functools import cached_property

import asyncpg
import psycopg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import SyncPsycopgDriver
from pgqueuer.adapters.persistence.queries import Queries, SyncQueries
from pgqueuer.models import Job

from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts


class OfPgQueuer:
    def __init__(self, setting: Setting, starts: Starts) -> None:
        self._setting = setting
        self._starts = starts

    def install(self) -> None:
        asyncio.run(self._install())

    async def _install(self) -> None:
        connection = await asyncpg.connect(self._setting.url)
        await Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    @cached_property
    def _queries(self) -> SyncQueries:
        return SyncQueries(SyncPsycopgDriver(psycopg.connect(self._setting.url, autocommit=True)))

    def enqueue(self, number: int) -> None:
        self._queries.enqueue("noop", str(number).encode())

    def enqueue_in_bulk(self, numbers: range) -> None:
        count = len(numbers)
        self._queries.enqueue(["noop"] * count, [str(number).encode() for number in numbers], [0] * count)

    async def aopen(self) -> None:
        self._connection = await asyncpg.connect(self._setting.url)
        self._aqueries = Queries.from_asyncpg_connection(self._connection)

    async def aenqueue(self, number: int) -> None:
        await self._aqueries.enqueue("noop", str(number).encode())

    def work(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        connection = await asyncpg.connect(self._setting.url)
        worker = PgQueuer.from_asyncpg_connection(connection)
        record, seconds = self._starts.record, self._setting.seconds

        @worker.entrypoint("noop")
        async def noop(job: Job) -> None:
            record(int(job.payload or b""))
            if seconds:
                await asyncio.sleep(seconds)

        self._starts.wait_at_the_gate()
        await worker.run(batch_size=self._setting.at_once)


SIDE = OfPgQueuer
