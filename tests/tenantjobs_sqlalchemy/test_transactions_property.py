"""Random programs of two sessions against a model: what leaves is exactly what was committed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, StaticPool, create_engine, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import adapter, job
from tenantjobs.colours import drive
from tenantjobs.handle import Handle
from tests.tenantjobs_sqlalchemy.conftest import (
    ENGINES,
    MARIADB,
    Base,
    Joining,
    Order,
    Recording,
    database,
    for_asyncio,
    queue,
    with_savepoints,
)

url = database(*ENGINES, MARIADB)

EXAMPLES = int(os.environ.get("TENANTJOBS_EXAMPLES", "1"))  # so many times as many programs

MANY = ["enqueue", "enqueue", "read", "write", "add", "nest", "nest", "release", "undo"]
FEWER = ["commit", "commit_root", "rollback", "close"]

Step = tuple[str, int, int]  # what, in which session, at which of its savepoints
steps = st.tuples(
    st.sampled_from([*MANY, *MANY, *FEWER]),
    st.sampled_from([0, 0, 1]),
    st.integers(0, 3),
)
programs = st.lists(steps, min_size=5, max_size=30)


@job(name="tests.property.note", tenancy="none")
def note(value: Any) -> None: ...


@dataclass
class Level:
    jobs: list[int] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    wrote: bool = False

    def take(self, other: Level) -> None:
        self.jobs += other.jobs
        self.rows += other.rows
        self.wrote = self.wrote or other.wrote


@dataclass
class Model:
    """What should happen. With ``joined`` the queue lives in the database of session 0."""

    joined: bool
    levels: tuple[list[Level], list[Level]] = field(default_factory=lambda: ([], []))
    opened: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    written: list[list[str]] = field(default_factory=list)
    rows: list[set[str]] = field(default_factory=lambda: [set(), set()])

    def enqueue(self, number: int) -> None:
        if not self.opened:
            self.sent.append(number)
        else:
            target = 0 if self.joined and 0 in self.opened else self.opened[-1]
            self.levels[target][-1].jobs.append(number)

    def begin(self, session: int) -> list[Level]:
        if not self.levels[session]:
            self.levels[session].append(Level())
            self.opened.append(session)
        return self.levels[session]

    def write(self, session: int, row: str) -> None:
        level = self.begin(session)[-1]
        level.wrote = True
        level.rows.append(row)

    def nest(self, session: int) -> None:
        self.begin(session).append(Level())

    def release(self, session: int, depth: int) -> None:
        levels = self.levels[session]
        while len(levels) > depth:
            last = levels.pop()
            levels[-1].take(last)

    def undo(self, session: int, depth: int) -> None:
        del self.levels[session][depth:]

    def commit(self, session: int) -> None:
        if self.levels[session]:
            self.release(session, 1)
            self.end(session, committed=True)

    def rollback(self, session: int) -> None:
        if self.levels[session]:
            self.levels[session].clear()
            self.opened.remove(session)

    def close(self, session: int) -> None:
        if self.levels[session]:
            self.release(session, 1)
            if self.levels[session][0].wrote:
                self.rollback(session)
            else:
                self.end(session, committed=False)

    def end(self, session: int, *, committed: bool) -> None:
        root = self.levels[session].pop()
        self.opened.remove(session)
        if committed:
            self.rows[session].update(root.rows)
            if self.joined and session == 0:
                if root.jobs:
                    self.written.append([str(number) for number in root.jobs])
                return
        if self.opened:
            self.levels[self.opened[-1]][-1].jobs += root.jobs
        else:
            self.sent += root.jobs


class Program:
    """Runs steps on two sessions of either colour, and keeps the model up to date."""

    def __init__(self, sessions: list[Any], model: Model) -> None:
        self.sessions = sessions
        self.model = model
        self.savepoints: list[list[Any]] = [[], []]
        self.handles: dict[int, Handle] = {}

    async def run(self, program: list[Step]) -> None:
        try:
            for number, (what, session, depth) in enumerate(program):
                await self.step(number, what, session, depth)
        finally:
            for session in (0, 1):
                await self.step(-1, "close", session, 0)

    async def step(self, number: int, what: str, at: int, depth: int) -> None:
        session, model, savepoints = self.sessions[at], self.model, self.savepoints[at]
        chosen = depth % len(savepoints) if savepoints else None
        match what:
            case "enqueue":
                self.handles[number] = note.perform_later(number)
                model.enqueue(number)
            case "read":
                await settled(session.execute(select(Order)))
                model.begin(at)
            case "write":
                await settled(session.execute(insert(Order).values(name=str(number))))
                model.write(at, str(number))
            case "add":
                session.add(Order(name=str(number)))
                model.write(at, str(number))
            case "nest" if len(savepoints) < 4:
                savepoints.append(await settled(session.begin_nested()))
                model.nest(at)
            case "release" if chosen is not None:
                await settled(savepoints[chosen].commit())
                model.release(at, chosen + 1)
                del savepoints[chosen:]
            case "undo" if chosen is not None:
                await settled(savepoints[chosen].rollback())
                model.undo(at, chosen + 1)
                del savepoints[chosen:]
            case "commit" | "commit_root" | "rollback" | "close":
                await self.end(what, session)
                getattr(model, what.removesuffix("_root"))(at)
                savepoints.clear()

    async def end(self, what: str, session: Any) -> None:
        if what != "commit_root":
            await settled(getattr(session, what)())
        elif isinstance(session, AsyncSession):
            await session.run_sync(commit_root)
        else:
            commit_root(session)


def commit_root(session: Session) -> None:
    """As ``with session.begin():`` ends, whatever savepoints are open."""
    root = session.get_transaction()
    if root is not None:
        root.commit()


async def settled(value: Any) -> Any:
    return await value if isawaitable(value) else value


def compare(program: Program, queue_at: Recording, rows: Callable[[int], set[str]]) -> None:
    model = program.model
    assert queue_at.sent == model.sent
    if isinstance(queue_at, Joining):
        assert queue_at.writes == model.written
        assert queue_at.stored == [label for batch in model.written for label in batch]
    left = {*map(str, model.sent), *(label for batch in model.written for label in batch)}
    assert {str(number) for number, handle in program.handles.items() if handle.enqueued is True} == left
    assert all(handle.enqueued is not None for handle in program.handles.values())
    assert (rows(0), rows(1)) == (model.rows[0], model.rows[1])


def names(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(Order.name)))


def emptied(*engines: Engine) -> None:
    for engine in engines:
        with engine.begin() as connection:
            connection.execute(delete(Order))
            connection.execute(delete(queue))


def in_memory() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with_savepoints(engine)
    Base.metadata.create_all(engine)
    queue.metadata.create_all(engine)
    return engine


@pytest.fixture
def other() -> Iterator[Engine]:
    """The database of the second session."""
    engine = in_memory()
    yield engine
    engine.dispose()


@pytest.mark.parametrize("joined", [False, True])
def test_what_leaves_is_what_was_committed(
    joined: bool, engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = [sessionmaker(engine), sessionmaker(other)]
    for maker in makers:
        tenantjobs_sqlalchemy.install(maker)

    @settings(
        max_examples=EXAMPLES * (120 if engine.dialect.name == "sqlite" else 40),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(programs)
    def holds(program: list[Step]) -> None:
        emptied(engine, other)
        queue_at = Joining(engine) if joined else Recording()
        monkeypatch.setattr(adapter, "configured", lambda: queue_at)
        running = Program([maker() for maker in makers], Model(joined))
        drive(running.run(program))

        compare(running, queue_at, lambda session: names([engine, other][session]))

    try:
        holds()
    finally:
        tenantjobs_sqlalchemy.uninstall()


@pytest.mark.parametrize("joined", [False, True])
def test_the_same_of_async_sessions(joined: bool, url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async_engine = create_async_engine(for_asyncio(url))
    with_savepoints(async_engine.sync_engine)
    async_other = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    with_savepoints(async_other.sync_engine)
    makers = [async_sessionmaker(async_engine), async_sessionmaker(async_other)]
    for maker in makers:
        tenantjobs_sqlalchemy.install(maker)

    async def prepare() -> None:
        async with async_other.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def run(program: list[Step], queue_at: Recording) -> tuple[Program, list[set[str]]]:
        async with async_other.begin() as connection:
            await connection.execute(delete(Order))
        running = Program([maker() for maker in makers], Model(joined))
        await running.run(program)
        return running, [await anames(async_engine), await anames(async_other)]

    async def dispose() -> None:
        await async_engine.dispose()
        await async_other.dispose()

    with asyncio.Runner() as runner:
        runner.run(prepare())

        @settings(max_examples=EXAMPLES * 30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(programs)
        def holds(program: list[Step]) -> None:
            emptied(engine)
            queue_at = Joining(engine) if joined else Recording()
            if isinstance(queue_at, Joining):
                monkeypatch.setattr(queue_at, "joins", lambda candidate: candidate is async_engine.sync_engine)
            monkeypatch.setattr(adapter, "configured", lambda: queue_at)
            running, found = runner.run(run(program, queue_at))

            compare(running, queue_at, lambda session: found[session])

        try:
            holds()
        finally:
            runner.run(dispose())
            tenantjobs_sqlalchemy.uninstall()


async def anames(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.scalars(select(Order.name)))
