"""What is done with a session, and what a session may have over that of bare SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine, ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column

ROWS = 100
TENANT = "acme"

Step = Callable[[], None]


class Base(DeclarativeBase):
    pass


class Columns:
    @declared_attr.directive
    def __tablename__(cls) -> str:
        return cls.__name__.lower()

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(20))


class Bare: ...


class ByHand:
    """What scoping adds to statements, written by hand: the tenant in each key, hence in each WHERE of a flush."""

    __mapper_args__ = MappingProxyType({"primary_key": ["id", "tenant_id"]})


class Kind:
    """What a lane has over SQLAlchemy, and the models to measure it with."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.engine = engine
        self.mixin: type = Bare
        self.scope: AbstractContextManager[object] = nullcontext()
        self.enqueue: Callable[[], object] = int
        self.by_hand = name == "by hand"
        if self.by_hand:
            self.mixin = ByHand
        elif name != "bare":
            # A bare process must not even have imported it.
            from tests.benchmarks import layer

            layer.add(self, *name.split("+"))
        mixin = self.mixin

        class Item(Columns, mixin, Base): ...  # type: ignore[misc, valid-type]

        class Part(Columns, mixin, Base):  # type: ignore[misc, valid-type]
            item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))

        self.item: Any = Item
        self.part: Any = Part


@contextmanager
def query(kind: Kind) -> Iterator[Step]:
    with Session(kind.engine) as session:

        def bare() -> None:
            session.execute(select(kind.item.id).where(kind.item.id == 5)).all()

        def by_hand() -> None:
            session.execute(select(kind.item.id).where(kind.item.id == 5, kind.item.tenant_id == TENANT)).all()

        step = by_hand if kind.by_hand else bare
        step()
        yield step


@contextmanager
def insert(kind: Kind) -> Iterator[Step]:
    with Session(kind.engine) as session:
        session.add_all(_rows(kind.item))
        yield session.flush


@contextmanager
def insert_without_keys(kind: Kind) -> Iterator[Step]:
    with Session(kind.engine) as session:
        session.add_all([kind.item(title="x", tenant_id=TENANT) for _ in range(ROWS)])
        yield session.flush


@contextmanager
def insert_with_references(kind: Kind) -> Iterator[Step]:
    """To ten rows that the session does not hold."""
    with Session(kind.engine) as session:
        session.add_all(_rows(kind.item))
        session.flush()
        session.expunge_all()
        session.add_all(_rows(kind.part, lambda number: {"item_id": number % 10 + 1}))
        yield session.flush


@contextmanager
def change(kind: Kind) -> Iterator[Step]:
    with Session(kind.engine) as session:
        records = _rows(kind.item)
        session.add_all(records)
        session.flush()
        for record in records:
            record.title = "y"
        yield session.flush


@contextmanager
def delete(kind: Kind) -> Iterator[Step]:
    with Session(kind.engine) as session:
        records = _rows(kind.item)
        session.add_all(records)
        session.flush()
        for record in records:
            session.delete(record)
        yield session.flush


@contextmanager
def transaction(kind: Kind, rows: int = 1) -> Iterator[Step]:
    def step() -> None:
        with Session(kind.engine) as session:
            session.add_all(_rows(kind.item, count=rows))
            kind.enqueue()
            session.commit()

    yield step
    with Session(kind.engine) as session:
        session.connection().exec_driver_sql("DELETE FROM item")
        session.commit()


@contextmanager
def large_transaction(kind: Kind) -> Iterator[Step]:
    with transaction(kind, ROWS) as step:
        yield step


def _rows(model: Any, more: Callable[[int], dict[str, Any]] = lambda _: {}, count: int = ROWS) -> list[Any]:
    return [model(id=number, title="x", tenant_id=TENANT, **more(number)) for number in range(1, count + 1)]


TASKS: dict[str, Callable[[Kind], AbstractContextManager[Step]]] = {
    task.__name__: task
    for task in (
        query,
        insert,
        insert_without_keys,
        insert_with_references,
        change,
        delete,
        transaction,
        large_transaction,
    )
}
