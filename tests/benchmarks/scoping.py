"""What it costs to keep a session to its tenant, beside the same without."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

from sqlalchemy import Engine, String, create_engine, select
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
    bare = _measured(engine, Bare)  # before there is a scoped model, nothing listens

    class Scoped(TenantScoped, Columns, Base):
        pass

    Base.metadata.create_all(engine)
    with Current.set(tenant_id="acme"):
        scoped = _measured(engine, Scoped)
    yield Row(name="scoped query, over bare SQLAlchemy", value=scoped[0] - bare[0], unit="us", spread=0, goal=30)
    for name, before, after in (("insert", bare[1], scoped[1]), ("change", bare[2], scoped[2])):
        share = (after / before - 1) * 100
        yield Row(name=f"flush that would {name} {ROWS} rows, over bare", value=share, unit="%", spread=0, goal=10)


def _measured(engine: Engine, model: Any) -> list[float]:
    """The least of many runs, in CPU time of this thread: the rest is what else this machine does."""
    figures = []
    for timed, calls in ((_query(engine, model), 5_000), (_flush(engine, model), 200), (_change(engine, model), 200)):
        figures.append(min(next(timed) for _ in range(calls)))
        timed.close()
    return figures


def _query(engine: Engine, model: Any) -> Generator[float, None, None]:
    with Session(engine) as session:
        while True:
            start = time.thread_time()
            session.execute(select(model.id).where(model.id == 5)).all()
            yield (time.thread_time() - start) * 1e6


def _flush(engine: Engine, model: Any) -> Generator[float, None, None]:
    while True:
        with Session(engine) as session:
            # With keys of their own, or SQLite would be sent the rows one by one.
            session.add_all([model(id=number, title="x", tenant_id="acme") for number in range(1, ROWS + 1)])
            start = time.thread_time()
            session.flush()
            yield (time.thread_time() - start) * 1e6


def _change(engine: Engine, model: Any) -> Generator[float, None, None]:
    while True:
        with Session(engine) as session:
            records = [model(id=number, title="x", tenant_id="acme") for number in range(1, ROWS + 1)]
            session.add_all(records)
            session.flush()
            for record in records:
                record.title = "y"
            start = time.thread_time()
            session.flush()
            yield (time.thread_time() - start) * 1e6
