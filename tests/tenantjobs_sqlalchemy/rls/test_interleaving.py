"""Many tenants on few connections. TENANTJOBS_STRESS=100000 makes it that many operations, for each way there."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tenantjobs import Current
from tenantjobs_sqlalchemy import rls
from tenantjobs_sqlalchemy.rls import following
from tests.pooler import pgbouncer
from tests.tenantjobs_sqlalchemy.rls.conftest import Note, run

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(900)]

OPERATIONS = int(os.environ.get("TENANTJOBS_STRESS", "1000"))
TENANTS = 50
NOTES = 3  # of each tenant
THREADS, TASKS = 6, 12
OWNERS = text("SELECT tenant_id FROM notes")
ROWS = f"""
    INSERT INTO notes (id, tenant_id, body)
    SELECT n, 't' || (n - 1) / {NOTES}, '' FROM generate_series(1, {TENANTS * NOTES}) AS n
"""

Seen = Iterable[str]
Scope = Callable[[str], AbstractContextManager[None]]


def read_by_text(session: Session, tenant: str) -> Seen:
    return session.scalars(OWNERS)


def read_by_orm(session: Session, tenant: str) -> Seen:
    return [note.tenant_id for note in session.scalars(select(Note))]


def write_by_text(session: Session, tenant: str) -> Seen:
    seen = session.scalars(text("UPDATE notes SET body = body || '.' WHERE id % 3 = 0 RETURNING tenant_id")).all()
    session.commit()
    return seen


def write_by_orm_and_roll_back(session: Session, tenant: str) -> Seen:
    session.add(Note(body="new", id=1_000_000))
    session.flush()
    seen = session.scalars(OWNERS).all()
    assert len(seen) == NOTES + 1
    session.rollback()
    return [*seen, *session.scalars(OWNERS)]


def read_after_a_savepoint(session: Session, tenant: str) -> Seen:
    savepoint = session.begin_nested()
    before = session.scalars(OWNERS).all()
    savepoint.rollback()
    return [*before, *session.scalars(OWNERS)]


def read_after_an_error(session: Session, tenant: str) -> Seen:
    with pytest.raises(Exception, match="division by zero"):
        session.execute(text("SELECT 1 / 0"))
    session.rollback()
    return session.scalars(OWNERS)


def of_tenant(tenant: str) -> AbstractContextManager[None]:
    return Current.set(tenant_id=tenant)


def of_nobody(tenant: str) -> AbstractContextManager[None]:
    return nullcontext()


def of_system(tenant: str) -> AbstractContextManager[None]:
    return Current.system("count")


READING: list[tuple[Scope, Callable[[Session, str], Seen], int]] = [
    (of_tenant, read_by_text, NOTES),
    (of_nobody, read_by_text, 0),
]
BY_TEXT = [
    *READING,
    (of_tenant, write_by_text, 1),
    (of_tenant, read_after_a_savepoint, 2 * NOTES),
    (of_system, read_by_text, TENANTS * NOTES),
    (of_tenant, read_after_an_error, NOTES),
    (of_nobody, write_by_text, 0),
]
SCOPED = [
    (of_tenant, read_by_orm, NOTES),
    (of_tenant, write_by_orm_and_roll_back, 2 * NOTES + 1),
    *BY_TEXT,
]


class Crossing:
    """What operations have seen that is not theirs, and what they have not seen that is."""

    def __init__(self, operations: list[Any]) -> None:
        self.operations = operations
        self.found: Counter[str] = Counter()
        self._lock = Lock()

    def perform(self, number: int, session: Session) -> None:
        """The operation of this number. Tenants are far apart in neighbouring ones."""
        tenant = f"t{number * 7 % TENANTS}"
        scope, operation, expected = self.operations[number % len(self.operations)]
        with scope(tenant):
            seen = list(operation(session, tenant))
        foreign = 0 if scope is of_system else sum(owner != tenant or scope is of_nobody for owner in seen)
        with self._lock:
            self.found.update(done=1, crossed=foreign, missing=max(0, expected - (len(seen) - foreign)))


def interleave(crossing: Crossing, url: URL, threads_pool: int, tasks_pool: int) -> None:
    """All operations, half of them in threads and half in the tasks of a loop, on these many connections each."""
    half = OPERATIONS // 2
    arguments: dict[str, Any] = {"max_overflow": 0, "connect_args": {"prepare_threshold": None}, "pool_timeout": 900}
    engine = create_engine(url, pool_size=threads_pool, **arguments)
    async_engine = create_async_engine(url, pool_size=tasks_pool, **arguments)
    rls.install(engine)
    rls.install(async_engine)

    def thread(first: int) -> None:
        for number in range(first, half, THREADS):
            with Session(engine) as session:
                crossing.perform(number, session)
            time.sleep(0)  # the pool is first come, first served only for who is let come: it has no queue

    async def task(first: int) -> None:
        for number in range(half + first, OPERATIONS, TASKS):
            async with AsyncSession(async_engine) as session:
                await session.run_sync(lambda inner, number=number: crossing.perform(number, inner))

    async def tasks() -> None:
        await asyncio.gather(*(task(first) for first in range(TASKS)))
        await async_engine.dispose()

    with ThreadPoolExecutor(THREADS + 1) as executor:
        waiting = [executor.submit(thread, first) for first in range(THREADS)]
        waiting.append(executor.submit(asyncio.run, tasks()))
        for future in waiting:
            future.result()
    engine.dispose()


@pytest.fixture
def tenants(owner: Engine) -> Iterator[None]:
    run(owner, ["TRUNCATE notes", ROWS])
    yield
    rls.uninstall()


@pytest.mark.parametrize("operations", [BY_TEXT, SCOPED], ids=["text", "scoped"])
def test_no_row_crosses_on_a_pool_of_two_connections(tenants: None, url: str, operations: list[Any]) -> None:
    crossing = Crossing(operations)
    interleave(crossing, make_url(url), 2, 2)

    assert +crossing.found == {"done": OPERATIONS}


@pytest.mark.parametrize("operations", [BY_TEXT, SCOPED], ids=["text", "scoped"])
def test_no_row_crosses_behind_pgbouncer_with_two_connections(tenants: None, url: str, operations: list[Any]) -> None:
    with pgbouncer(url) as pooled:
        crossing = Crossing(operations)
        interleave(crossing, pooled, THREADS, TASKS)

    assert +crossing.found == {"done": OPERATIONS}


def test_a_setting_that_outlives_its_transaction_would_be_found(
    tenants: None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_TELL", text(following._TELL.text.replace("true", "false")))
    with pgbouncer(url) as pooled:
        crossing = Crossing([*READING, (of_tenant, write_by_text, 1)])  # a rollback would take it back
        interleave(crossing, pooled, THREADS, TASKS)

    assert crossing.found["crossed"] > 0


def test_a_missing_policy_would_be_found(tenants: None, owner: Engine, url: str) -> None:
    run(owner, rls.disable(Note))
    crossing = Crossing(READING)  # writing everybody's rows would run into locks
    interleave(crossing, make_url(url), 2, 2)

    assert crossing.found["crossed"] > 0
