"""Steps, cursors and progress as users write them, with the exact types. Checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tenantjobs import AsyncCursor, Cursor, Job, Progress, current_job, job, step
from tenantjobs_sqlalchemy import ain_batches, in_batches


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)


class Process(Job):
    max_resumptions = 10

    def perform(self, name: str) -> None:
        self.run_steps(name)

    @step
    def first(self, name: str) -> int:
        return len(name)

    @step(isolated=True, unless=lambda job, name: not name, on_error="flag", start=0)
    def second(self, name: str, *, cursor: Cursor[int]) -> None:
        assert_type(cursor.value, int)
        for books in in_batches(select(Book), size=10, after=cursor.value):
            assert_type(books, list[Book])
            cursor.set(books[-1].id)
        cursor.advance(past=7)
        cursor.checkpoint()

    def flag(self, name: str, error: Exception) -> None: ...


class AsyncProcess(Job):
    async def perform(self) -> None:
        await self.run_steps()

    @step
    async def load(self, *, cursor: AsyncCursor[int | None]) -> None:
        async for books in ain_batches(select(Book), after=cursor.value):
            await cursor.set(books[-1].id)


@job
def by_hand() -> None:
    for cursor in step("import", start=0):
        assert_type(cursor, Cursor[int])
    for anything in step("other", isolated=True):
        assert_type(anything, Cursor[Any])


@job
async def by_hand_async() -> None:
    async for cursor in step("import", start="a"):
        assert_type(cursor, AsyncCursor[str])
        await cursor.set("b")


assert_type(Process().first("a"), int)
running = current_job()
assert running is not None
running.progress(1, total=2.5)
assert_type(by_hand.perform_later().progress(), Progress | None)
