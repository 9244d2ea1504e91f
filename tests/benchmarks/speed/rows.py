"""What is measured against what, with the floors and aims of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial

from tenantjobs.adapter import WorkOptions
from tests.benchmarks.speed.bench import SQLITE, Bench
from tests.benchmarks.speed.measures import (
    COMMIT,
    Round,
    backlog,
    drain,
    enqueue,
    held,
    in_turn,
    latency,
    memory,
)
from tests.benchmarks.speed.setting import Setting

OURS, PGQUEUER, HUEY, BARE = "tenantjobs", "PgQueuer", "Huey", "a bare loop that coalesces"
ROWS = "bare rows like ours"
COROUTINES, SHALLOW = "coroutines", "shallow"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured: jobs, unless it says something else."""

    drained: int = 40_000
    waiting: int = 200_000
    embedded: int = 20_000  # on SQLite
    with_io: int = 10_000
    one_by_one: int = 3_000
    callers: int = 100
    at_once: int = 20_000
    in_bulk: int = 40_000
    idle: int = 200
    deep: int = 10_000_000
    tenants: int = 100_000  # of the deep ones
    held: float = 600.0  # seconds

    def scaled(self, share: float) -> Sizes:
        """The same with that share of the jobs that are counted; what rows are named after stays."""
        named = {"waiting", "callers", "deep", "tenants", "held"}
        return replace(
            self,
            **{
                field.name: max(10, int(getattr(self, field.name) * share))
                for field in fields(self)
                if field.name not in named
            },
        )


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A floor or an aim: of our own figure, or of its ratio to that of the peer."""

    value: float
    ratio: bool = False

    def met(self, ours: float, ratio: float | None, *, more_is_better: bool) -> bool | None:
        """None if there is nothing to compare with."""
        found = ratio if self.ratio else ours
        if found is None:
            return None
        return found >= self.value if more_is_better else found <= self.value


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    how: str
    unit: str = "/s"
    figure: str = "rate"
    ours: str = OURS
    peer: str | None = None
    floor: Bound | None = None
    aim: Bound | None = None

    @property
    def peer_name(self) -> str | None:
        """As it is printed."""
        return "our shallow rate" if self.peer == SHALLOW else self.peer

    @property
    def more_is_better(self) -> bool:
        return self.unit == "/s"


@dataclass(frozen=True)
class Trial:
    """Rows whose figures are taken together, in turn."""

    rounds: Callable[[Bench, int], Iterator[Round]]
    rows: tuple[Row, ...]
    deep: bool = False  # takes its time: only if asked for


# Both sides run as many jobs at once. Ours are functions, on threads; PgQueuer knows coroutines alone.
ours = Setting(side="ours", at_once=100)
coroutines = replace(ours, coroutines=True)
pgqueuer = Setting(side="of_pgqueuer", at_once=100)
embedded = Setting(side="ours", at_once=1)
huey = Setting(side="of_huey", at_once=1)
bare = Setting(side="bare_loop")
rows = Setting(side="bare_rows")


def trials(sizes: Sizes) -> list[Trial]:
    return [*_drains(sizes), *_enqueues(sizes), *_idle(sizes), *_with_io(sizes), *_deep(sizes)]


def _drains(sizes: Sizes) -> Iterator[Trial]:
    how = f"{sizes.drained:,} jobs, 100 at once"
    floor, aim = Bound(value=1.5, ratio=True), Bound(value=2.5, ratio=True)
    shallow = partial(drain, waiting=sizes.drained)
    yield _beside(
        {
            OURS: partial(shallow, setting=ours),
            PGQUEUER: partial(shallow, setting=pgqueuer),
            COROUTINES: partial(shallow, setting=coroutines),
        },
        Row(name="drain, PostgreSQL, 1 worker process", how=how, peer=PGQUEUER, floor=floor, aim=aim),
        Row(name="sync jobs, PostgreSQL, 100 threads", how=how, peer=PGQUEUER),
        Row(name="async jobs, PostgreSQL, 100 at once", how=how, ours=COROUTINES, peer=PGQUEUER),
    )
    by_two = partial(shallow, processes=2)
    yield _beside(
        {OURS: partial(by_two, setting=ours), PGQUEUER: partial(by_two, setting=pgqueuer)},
        Row(name="drain, PostgreSQL, 2 worker processes", how=f"{how} in each", peer=PGQUEUER, floor=floor, aim=aim),
    )
    filled = partial(drain, waiting=sizes.waiting, jobs=min(sizes.drained, sizes.waiting))
    how = f"the first {sizes.drained:,} jobs, 100 at once"
    yield _beside(
        {
            OURS: partial(filled, setting=ours),
            PGQUEUER: partial(filled, setting=pgqueuer),
            SHALLOW: partial(drain, setting=ours, waiting=sizes.drained),
        },
        Row(
            name=f"drain with {sizes.waiting:,} jobs waiting",
            how=how,
            peer=PGQUEUER,
            floor=Bound(value=2, ratio=True),
            aim=Bound(value=4, ratio=True),
        ),
        Row(
            name=f"drain with {sizes.waiting:,} jobs waiting, of our shallow rate",
            how=how,
            peer=SHALLOW,
            floor=Bound(value=0.85, ratio=True),
            aim=Bound(value=0.9, ratio=True),
        ),
    )
    shallow = partial(drain, waiting=sizes.embedded, where=SQLITE)
    yield _beside(
        {OURS: partial(shallow, setting=embedded), HUEY: partial(shallow, setting=huey)},
        Row(
            name="drain, SQLite, 1 worker process",
            how=f"{sizes.embedded:,} jobs, one at a time",
            peer=HUEY,
            floor=Bound(value=4, ratio=True),
            aim=Bound(value=10, ratio=True),
        ),
    )


def _enqueues(sizes: Sizes) -> Iterator[Trial]:
    one_by_one = partial(enqueue, jobs=sizes.one_by_one)
    how = f"{sizes.one_by_one:,} jobs by one caller, a commit each"
    yield _beside(
        {
            OURS: partial(one_by_one, setting=ours),
            PGQUEUER: partial(one_by_one, setting=pgqueuer),
            ROWS: partial(one_by_one, setting=rows),
        },
        Row(name="enqueue one by one beside bare rows, PostgreSQL", how=f"{how}; an INSERT each", peer=ROWS),
        Row(
            name="enqueue one by one, committed, PostgreSQL",
            how=how,
            peer=PGQUEUER,
            floor=Bound(value=1.25, ratio=True),
            aim=Bound(value=1.45, ratio=True),
        ),
    )
    callers = sizes.callers
    at_once = partial(enqueue, jobs=sizes.at_once, how="enqueue_at_once", by=(callers,))
    yield _beside(
        {OURS: partial(at_once, setting=ours), BARE: partial(at_once, setting=bare)},
        Row(
            name=f"enqueue by {callers} concurrent callers, PostgreSQL",
            how=f"{sizes.at_once:,} jobs, `await job.aperform_later(...)` in {callers} coroutines",
            peer=BARE,
            floor=Bound(value=10_000),
            aim=Bound(value=40_000),
        ),
    )
    in_bulk = partial(enqueue, jobs=sizes.in_bulk, how="enqueue_in_bulk", by=(COMMIT,))
    yield _beside(
        {
            OURS: partial(in_bulk, setting=ours),
            PGQUEUER: partial(in_bulk, setting=pgqueuer),
            ROWS: partial(in_bulk, setting=rows),
        },
        Row(name="bulk enqueue beside bare rows, PostgreSQL", how=f"{COMMIT:,} to a COPY", peer=ROWS),
        Row(
            name="bulk enqueue, PostgreSQL",
            how=f"{sizes.in_bulk:,} jobs, {COMMIT:,} to a commit",
            peer=PGQUEUER,
            floor=Bound(value=1.7, ratio=True),
            aim=Bound(value=3, ratio=True),
        ),
    )
    on_sqlite = partial(one_by_one, where=SQLITE)
    yield _beside(
        {
            OURS: partial(on_sqlite, setting=embedded),
            HUEY: partial(on_sqlite, setting=huey),
            ROWS: partial(on_sqlite, setting=rows),
        },
        Row(name="enqueue one by one beside bare rows, SQLite", how=f"{how}, FULL; an INSERT each", peer=ROWS),
        Row(
            name="enqueue one by one, SQLite, same `synchronous` as the peer",
            how=f"{how}, FULL",
            peer=HUEY,
            floor=Bound(value=1, ratio=True),
            aim=Bound(value=1.15, ratio=True),
        ),
    )
    yield _beside(
        {OURS: partial(on_sqlite, setting=replace(embedded, synchronous="NORMAL"))},
        Row(name="enqueue one by one, SQLite, NORMAL", how=f"{how}, NORMAL", aim=Bound(value=20_000)),
    )


def _idle(sizes: Sizes) -> Iterator[Trial]:
    wait = partial(latency, jobs=sizes.idle)
    how = f"{sizes.idle} jobs, one now and then, to a worker process that is idle"
    yield _beside(
        {OURS: partial(wait, setting=ours), PGQUEUER: partial(wait, setting=pgqueuer)},
        *(
            Row(
                name=f"idle latency, enqueue to start, {figure}, PostgreSQL",
                how=how,
                unit="ms",
                figure=figure,
                peer=PGQUEUER,
                floor=Bound(value=1, ratio=True),
                aim=Bound(value=aim),
            )
            for figure, aim in (("p50", 2.5), ("p99", 6.2))
        ),
    )
    wait = partial(wait, where=SQLITE)
    yield _beside(
        {OURS: partial(wait, setting=embedded), HUEY: partial(wait, setting=huey)},
        Row(
            name="latency across processes, SQLite, p50",
            how=how,
            unit="ms",
            figure="p50",
            peer=HUEY,
            floor=Bound(value=10),
            aim=Bound(value=2),
        ),
    )
    yield _beside(
        {
            OURS: partial(memory, setting=replace(ours, at_once=WorkOptions().threads)),
            PGQUEUER: partial(memory, setting=replace(pgqueuer, at_once=10)),
        },
        Row(
            name="resident memory of an idle worker",
            how="PostgreSQL, after some jobs; at once as many as is the default of each",
            unit="MB",
            figure="resident",
            peer=PGQUEUER,
            floor=Bound(value=60),
            aim=Bound(value=40),
        ),
    )


def _with_io(sizes: Sizes) -> Iterator[Trial]:
    waiting = partial(drain, waiting=sizes.with_io)
    sides = {OURS: ours, PGQUEUER: pgqueuer, COROUTINES: coroutines}
    how = f"{sizes.with_io:,} jobs"
    yield _beside(
        {
            name: partial(waiting, setting=replace(setting, seconds=0.001, at_once=50))
            for name, setting in sides.items()
        },
        Row(name="sync jobs of 1 ms of I/O, PostgreSQL, 50 threads", how=how, peer=PGQUEUER),
        Row(name="async jobs of 1 ms of I/O, PostgreSQL, 50 at once", how=how, ours=COROUTINES, peer=PGQUEUER),
    )


def _deep(sizes: Sizes) -> Iterator[Trial]:
    half = Bound(value=0.5, ratio=True)
    yield Trial(
        lambda bench, rounds: backlog(
            bench, rounds, ours, waiting=sizes.deep, tenants=sizes.tenants, jobs=min(sizes.drained, sizes.deep)
        ),
        (
            Row(
                name=f"drain with {sizes.deep:,} jobs waiting of {sizes.tenants:,} tenants",
                how=f"{sizes.drained:,} of them, 100 at once, beside as many of 10 tenants alone",
                ours="deep",
                peer=SHALLOW,
                floor=half,
            ),
        ),
        deep=True,
    )
    yield Trial(
        lambda bench, rounds: held(bench, rounds, ours, seconds=sizes.held, jobs=sizes.drained),
        (
            Row(
                name=f"drain with a transaction held open for {_minutes(sizes.held)}",
                how=f"{sizes.drained:,} jobs, 100 at once, after jobs have come and gone all that time",
                ours="held",
                peer=SHALLOW,
                floor=half,
            ),
        ),
        deep=True,
    )


def _minutes(seconds: float) -> str:
    return "ten minutes" if seconds == 600 else f"{seconds:g} s"


def _beside(measures: Mapping[str, Callable[..., object]], *rows: Row) -> Trial:
    return Trial(lambda bench, rounds: in_turn(bench, rounds, measures), rows)  # type: ignore[arg-type]
