"""No queue: the least that many callers need who share a connection. What comes while a commit is under way goes
together with the next one."""

from __future__ import annotations

import asyncio

import psycopg

from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts

TABLE = "CREATE TABLE bare_jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text, argument text)"
INSERT = "INSERT INTO bare_jobs (tenant, argument) SELECT * FROM unnest(%s::text[], %s::text[])"


class BareLoop:
    def __init__(self, setting: Setting, starts: Starts) -> None:
        self._setting = setting
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None

    def install(self) -> None:
        with psycopg.connect(self._setting.url, autocommit=True) as connection:
            connection.execute(TABLE)

    def enqueue(self, number: int) -> None:
        raise NotImplementedError("only callers at once are compared with a bare loop")

    def enqueue_in_bulk(self, numbers: range) -> None:
        raise NotImplementedError("only callers at once are compared with a bare loop")

    async def aopen(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self._setting.url, autocommit=True)

    async def aenqueue(self, number: int) -> None:
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((f"tenant-{number % self._setting.tenants}", str(number), committed))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())
        await committed

    async def _commit(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            tenants, arguments, futures = zip(*batch, strict=True)
            await self._connection.execute(INSERT, (list(tenants), list(arguments)), prepare=True)
            for future in futures:
                future.set_result(None)

    def work(self) -> None:
        raise NotImplementedError("nothing performs what a bare loop has written")


SIDE = BareLoop
