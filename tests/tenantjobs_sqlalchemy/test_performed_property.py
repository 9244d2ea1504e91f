"""Random programs of nested transactions, savepoints, enqueues and raises: what is performed is what was committed.

With the real queues: in the transaction, after the commit, and through the outbox. ``TENANTJOBS_EXAMPLES=20`` runs
twenty times as many programs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool

import tenantjobs_sqlalchemy
from tenantjobs import Current, job, testing
from tenantjobs.colours import drive
from tenantjobs.handle import Handle
from tenantjobs_db import schema, tables
from tests.tenantjobs_sqlalchemy.conftest import Base, Order, with_savepoints
from tests.tenantjobs_sqlalchemy.test_transactions_property import EXAMPLES, in_memory, settled

MODES = ["in the transaction", "after the commit", "outbox"]

performed: list[tuple[int, str | None]] = []


@job(name="tests.performed.record", session=False)
def record(number: int) -> None:
    performed.append((number, Current.tenant_id))


class Boom(Exception):
    """Leaves ``levels`` blocks more than the one that raises it."""

    def __init__(self, levels: int) -> None:
        self.levels = levels


@dataclass(frozen=True)
class Enqueue:
    tenant: str


@dataclass(frozen=True)
class Write:
    by_statement: bool


@dataclass(frozen=True)
class Block:
    """A savepoint, or the transaction of another session."""

    is_savepoint: bool
    body: list[Any]
    ending: str  # of a savepoint: commit | rollback | raise; of a transaction also: close
    levels: int


def bodies(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(enqueues, enqueues, writes, inner), max_size=5)


def blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    endings = st.sampled_from(["commit", "commit", "rollback", "raise", "close"])
    return st.builds(Block, st.booleans(), bodies(inner), endings, st.integers(0, 2))


enqueues = st.builds(Enqueue, st.sampled_from(["acme", "globex"]))
writes = st.builds(Write, st.booleans())
programs = st.lists(st.recursive(enqueues, blocks, max_leaves=8), min_size=1, max_size=4)


@dataclass
class Frame:
    session: int
    is_root: bool
    jobs: list[tuple[int, str]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    wrote: bool = False


class Model:
    """What should happen. ``joined``: the queue, or the outbox, is in the database of session 0."""

    def __init__(self, joined: bool) -> None:
        self.joined = joined
        self.frames: list[Frame] = []
        self.performed: list[tuple[int, str]] = []
        self.rows: list[set[str]] = [set(), set()]

    def innermost(self, session: int) -> Frame | None:
        return next((frame for frame in reversed(self.frames) if frame.session == session), None)

    def enqueue(self, called: tuple[int, str]) -> None:
        target = (self.innermost(0) if self.joined else None) or (self.frames[-1] if self.frames else None)
        (target.jobs if target is not None else self.performed).append(called)

    def write(self, row: str) -> None:
        self.frames[-1].rows.append(row)
        self.frames[-1].wrote = True

    def end(self, ending: str) -> None:
        frame = self.frames.pop()
        if ending == "close" and not frame.wrote:
            self.hand_on(frame.jobs)
        elif ending == "commit" and not frame.is_root:
            outer = self.innermost(frame.session)
            assert outer is not None
            outer.jobs += frame.jobs
            outer.rows += frame.rows
            outer.wrote = outer.wrote or frame.wrote
        elif ending == "commit":
            self.rows[frame.session].update(frame.rows)
            if self.joined and frame.session == 0:
                self.performed += frame.jobs
            else:
                self.hand_on(frame.jobs)

    def hand_on(self, jobs: list[tuple[int, str]]) -> None:
        (self.frames[-1].jobs if self.frames else self.performed).extend(jobs)


class Program:
    """Runs a program on sessions of either colour, and keeps the model up to date."""

    def __init__(self, makers: list[Any], model: Model) -> None:
        self.makers = makers
        self.model = model
        self.open: list[Any] = []
        self.handles: dict[tuple[int, str], Handle] = {}
        self.number = 0

    async def run(self, body: list[Any]) -> None:
        for step in body:
            with suppress(Boom):  # once it has left the outermost block
                await self.step(step)

    async def body(self, body: list[Any], session: Any) -> None:
        self.open.append(session)
        try:
            for step in body:
                await self.step(step)
        finally:
            self.open.pop()

    async def step(self, step: Any) -> None:
        self.number += 1
        match step:
            case Enqueue(tenant):
                called = (self.number, tenant)
                with Current.set(tenant_id=tenant):
                    self.handles[called] = record.perform_later(self.number)
                self.model.enqueue(called)
            case Write(by_statement) if self.open:
                row = Order(name=str(self.number))
                if by_statement:
                    await settled(self.open[-1].execute(insert(Order).values(name=row.name)))
                else:
                    self.open[-1].add(row)
                self.model.write(row.name)
            case Block(is_savepoint=True) if self.open:
                await self.block(step, self.model.frames[-1].session, self.open[-1])
            case Block() if len({frame.session for frame in self.model.frames}) < 2:
                session = 1 - self.model.frames[-1].session if self.open else 0
                await self.block(step, session, None)

    async def block(self, block: Block, at: int, outer: Any) -> None:
        """A Boom leaves the block that raises it, and ``levels`` more around it."""
        self.model.frames.append(Frame(at, is_root=outer is None))
        raised: Boom | None = None
        ending = block.ending
        if outer is None:
            session = self.makers[at]()
            transaction = await settled(session.begin())
        else:
            session, transaction = outer, await settled(outer.begin_nested())
            ending = "commit" if ending == "close" else ending
        try:
            async with Entered(transaction):
                await self.body(block.body, session)
                if ending == "raise":
                    raise Boom(block.levels)
                elif ending == "rollback":
                    await settled(transaction.rollback())
                elif ending == "close":
                    await settled(session.close())
        except Boom as boom:
            raised, ending = boom, "raise"
        if outer is None:
            await settled(session.close())
        self.model.end(ending)
        if raised is not None and raised.levels:
            raise Boom(raised.levels - 1)


class Entered:
    """A transaction of either colour as a ``with`` block, which has begun."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> None:
        if not hasattr(self._transaction, "__aenter__"):
            self._transaction.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        if hasattr(self._transaction, "__aexit__"):
            await self._transaction.__aexit__(*error)
        else:
            self._transaction.__exit__(*error)


@contextmanager
def configured(mode: str, engine: Any, folder: Path) -> Iterator[None]:
    """The queue, and the outbox."""
    section: dict[str, Any] = {"engine": engine, "keep_finished": False, "synchronous": "NORMAL"}
    if mode == "outbox":
        section["url"] = f"sqlite:///{folder}/queue.db"
    adapter = "test" if mode == "after the commit" else "db"
    with testing.override(adapter=adapter, outbox=mode == "outbox", db=section):
        yield


def names(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(Order.name)))


def emptied(engine: Engine, *others: Engine) -> None:
    for each in (engine, *others):
        with each.begin() as connection:
            connection.execute(delete(Order))
    performed.clear()


def compare(running: Program, engine: Engine) -> None:
    model = running.model
    testing.drain()
    assert sorted(performed) == sorted(model.performed)
    assert {called for called, handle in running.handles.items() if handle.enqueued} == set(model.performed)
    assert all(handle.enqueued is not None for handle in running.handles.values())
    with engine.connect() as connection:
        assert connection.scalars(select(tables.outbox.c.id)).all() == []


def examples(function: Any, count: int) -> Any:
    given_programs = given(programs)(function)
    return settings(max_examples=count * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(
        given_programs
    )


@pytest.mark.parametrize("mode", MODES)
def test_what_is_performed_is_what_was_committed(mode: str, engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(engine)
    other = in_memory()
    makers = [sessionmaker(engine), sessionmaker(other)]
    for maker in makers:
        tenantjobs_sqlalchemy.install(maker)

    def holds(program: list[Any]) -> None:
        emptied(engine, other)
        running = Program(makers, Model(joined=mode != "after the commit"))
        drive(running.run(program))

        compare(running, engine)
        assert [names(engine), names(other)] == running.model.rows

    try:
        with configured(mode, engine, tmp_path):
            examples(holds, 40)()
    finally:
        tenantjobs_sqlalchemy.uninstall()
        other.dispose()


@pytest.mark.parametrize("mode", MODES)
def test_the_same_of_async_sessions(mode: str, url: str, engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(engine)
    async_engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    async_other = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    makers = [async_sessionmaker(async_engine), async_sessionmaker(async_other)]
    for each, maker in zip((async_engine, async_other), makers, strict=True):
        with_savepoints(each.sync_engine)
        tenantjobs_sqlalchemy.install(maker)

    async def prepare() -> None:
        async with async_other.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def run(program: list[Any], model: Model) -> tuple[Program, set[str]]:
        async with async_other.begin() as connection:
            await connection.execute(delete(Order))
        running = Program(makers, model)
        await running.run(program)
        async with async_other.connect() as connection:
            return running, set(await connection.scalars(select(Order.name)))

    async def dispose() -> None:
        await async_engine.dispose()
        await async_other.dispose()

    with asyncio.Runner() as runner:
        runner.run(prepare())

        def holds(program: list[Any]) -> None:
            emptied(engine)
            running, others = runner.run(run(program, Model(joined=mode != "after the commit")))

            compare(running, engine)
            assert [names(engine), others] == running.model.rows

        try:
            with configured(mode, async_engine, tmp_path):
                examples(holds, 20)()
        finally:
            runner.run(dispose())
            tenantjobs_sqlalchemy.uninstall()
