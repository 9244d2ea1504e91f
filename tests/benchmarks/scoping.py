"""What it costs to keep a session to its tenant, beside the same without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column

from tenantjobs import Current
from tenantjobs_sqlalchemy import TenantScoped
from tests.benchmarks.measure import Row

ROWS = 100


class Base(DeclarativeBase):
    pass


class Columns:
    @declared_attr.directive
    def __tablename__(cls) -> str:
        return cls.__name__.lower()

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(20))


class Bare(Columns, Base):
    pass


def scoping_cost() -> Iterator[Row]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    query = Pair(lambda: _query(engine, Bare), calls=500)
    flush = Pair(lambda: _flush(engine, Bare), calls=5)
    change = Pair(lambda: _change(engine, Bare), calls=5)
    bare = [pair.measure() for pair in (query, flush, change)]  # before there is a scoped model, nothing listens

    class Scoped(TenantScoped, Columns, Base):
        pass

    Base.metadata.create_all(engine)
    with Current.set(tenant_id="acme"):
        scoped = [
            Pair(lambda: _query(engine, Scoped), calls=500).measure(),
            Pair(lambda: _flush(engine, Scoped), calls=5).measure(),
            Pair(lambda: _change(engine, Scoped), calls=5).measure(),
        ]
    yield Row(name="scoped query, over bare SQLAlchemy", value=scoped[0] - bare[0], unit="us", spread=0, goal=30)
    for name, before, after in (("insert", bare[1], scoped[1]), ("change", bare[2], scoped[2])):
        share = (after / before - 1) * 100
        yield Row(name=f"flush that would {name} {ROWS} rows, over bare", value=share, unit="%", spread=0, goal=10)


class Pair:
    """One thing, measured by the least of several runs: the rest is what else this machine does."""

    def __init__(self, make: Callable[[], Iterator[float]], *, calls: int) -> None:
        self._make = make
        self._calls = calls

    def measure(self, runs: int = 25) -> float:
        figures = []
        for _ in range(runs):
            timed = self._make()
            figures.append(min(next(timed) for _ in range(self._calls)))
            timed.close()  # type: ignore[attr-defined]  # a generator
        return min(figures)


def _query(engine: Any, model: Any) -> Iterator[float]:
    with Session(engine) as session:
        while True:
            start = time.thread_time()
            session.execute(select(model.id).where(model.id == 5)).all()
            yield (time.thread_time() - start) * 1e6


def _flush(engine: Any, model: Any) -> Iterator[float]:
    while True:
        with Session(engine) as session:
            session.add_all([model(title="x", tenant_id="acme") for _ in range(ROWS)])
            start = time.thread_time()
            session.flush()
            yield (time.thread_time() - start) * 1e6


def _change(engine: Any, model: Any) -> Iterator[float]:
    while True:
        with Session(engine) as session:
            records = [model(title="x", tenant_id="acme") for _ in range(ROWS)]
            session.add_all(records)
            session.flush()
            for record in records:
                record.title = "y"
            start = time.thread_time()
            session.flush()
            yield (time.thread_time() - start) * 1e6
