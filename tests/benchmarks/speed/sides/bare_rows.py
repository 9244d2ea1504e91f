"""No queue: rows like ours in our table, by the statement that is as short as it can be. The least that a database with
this table needs for a job, whoever calls it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import make_url

from tenantjobs.envelope import new_id
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts

COLUMNS = "id, queue, tenant, name, priority, attempt, state, enqueued_at, data"
AT = "2026-11-01T00:00:00.000000+00:00"
DATA = (
    '{{"v":1,"id":"{}","name":"speed.noop","context":{{"tenant_id":"{}"}},"arguments":[[{}],{{}}],"enqueued_at":"{}"}}'
)


class BareRows:
    def __init__(self, setting: Setting, starts: Starts) -> None:
        self._setting = setting

    def install(self) -> None:
        database = own(self._setting.url, synchronous=self._setting.synchronous)
        schema.upgrade(database.engine)
        database.close()

    def enqueue(self, number: int) -> None:
        self._insert(self._row(number))

    def enqueue_in_bulk(self, numbers: range) -> None:
        lines = ["\t".join(map(str, self._row(number))) for number in numbers]
        with self._postgres.transaction(), self._postgres.cursor() as cursor:
            with cursor.copy(f"COPY tj_jobs ({COLUMNS}) FROM STDIN") as copy:
                copy.write("\n".join([*lines, ""]))

    async def aopen(self) -> None: ...

    async def aenqueue(self, number: int) -> None:
        raise NotImplementedError("callers at once are compared with a bare loop")

    def work(self) -> None:
        raise NotImplementedError("nothing performs what is written here")

    def _row(self, number: int) -> tuple[Any, ...]:
        id, tenant = new_id(), f"tenant-{number % self._setting.tenants}"
        return (id, "default", tenant, "speed.noop", 0, 0, "ready", AT, DATA.format(id, tenant, number, AT))

    @cached_property
    def _postgres(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._setting.url.replace("+psycopg", ""), autocommit=True)

    @cached_property
    def _insert(self) -> Callable[[tuple[Any, ...]], object]:
        url = make_url(self._setting.url)
        if url.get_backend_name() == "sqlite":
            connection = sqlite3.connect(str(url.database), isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._setting.synchronous}")
            statement = f"INSERT INTO tj_jobs ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            return lambda row: connection.execute(statement, row)
        cursor = self._postgres.cursor()
        insert = f"INSERT INTO tj_jobs ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        return lambda row: cursor.execute(insert, row, prepare=True)


SIDE = BareRows
