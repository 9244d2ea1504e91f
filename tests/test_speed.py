"""``python -m tests.benchmarks speed`` compares what it says, and the page says what it has found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from tests.benchmarks.__main__ import main
from tests.benchmarks.speed import page, results, table
from tests.benchmarks.speed.bench import POSTGRES, SQLITE, Bench
from tests.benchmarks.speed.command import missed, select
from tests.benchmarks.speed.measures import Taken, drain, enqueue, in_turn, percentile
from tests.benchmarks.speed.results import Record, Result, merged, result
from tests.benchmarks.speed.rows import HUEY, OURS, PGQUEUER, Bound, Row, Sizes, trials
from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts, rate

DRAIN = Row(
    name="drain",
    how="",
    peer=PGQUEUER,
    floor=Bound(value=1.5, ratio=True),
    aim=Bound(value=2.5, ratio=True),
)
WAIT = Row(name="wait", how="", unit="ms", figure="p50", peer=HUEY, floor=Bound(value=10), aim=Bound(value=2))
ALONE = Setting(side="ours", at_once=1)


def rates(ours: float, peer: float, noise: float = 0.0) -> dict[str, Taken]:
    return {OURS: Taken({"rate": ours}, noise), PGQUEUER: Taken({"rate": peer}, 0.0)}


def a_result(ours: float, ratio: float | None = None, noise: float = 0.0) -> Result:
    return Result(ours=ours, ratio=ratio, spread=0.1, unit="/s", rounds=5, noise=noise)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bench(stack: ExitStack, tmp_path: Path) -> Bench:
    return Bench(stack, tmp_path)


def test_a_row_is_the_ratio_of_the_medians_with_the_middle_half_of_the_rounds_as_its_spread() -> None:
    found = result(DRAIN, [rates(ours, 100) for ours in (100, 180, 200, 220, 900)])

    assert (found.ours, found.peer, found.peer_name, found.ratio) == (200, 100, PGQUEUER, 2.0)
    assert (found.spread, found.peer_spread, found.rounds) == (0.2, 0.0, 5)


def test_a_row_says_the_most_noise_that_one_of_its_rounds_had() -> None:
    quiet, loud = (result(DRAIN, [rates(1, 1), rates(1, 1, noise=noise)]) for noise in (0.1, 0.7))

    assert (quiet.noise, quiet.noisy) == (0.1, False)
    assert (loud.noise, loud.noisy) == (0.7, True)


def test_a_floor_is_one_of_the_ratio_or_of_our_own_figure() -> None:
    assert table.verdict(DRAIN, a_result(ours=1, ratio=1.5), DRAIN.floor) == table.MET
    assert table.verdict(DRAIN, a_result(ours=10**6, ratio=1.4), DRAIN.floor) == table.MISSED
    assert table.verdict(WAIT, a_result(ours=9.9, ratio=0.1), WAIT.floor) == table.MET
    assert table.verdict(WAIT, a_result(ours=10.1, ratio=0.1), WAIT.floor) == table.MISSED
    assert table.verdict(WAIT, None, WAIT.floor) == table.UNKNOWN


def test_rows_below_their_floor_are_the_ones_that_the_command_fails_for() -> None:
    found = {"drain": a_result(ours=1, ratio=1.49), "wait": a_result(ours=3)}

    assert missed([DRAIN, WAIT], found) == ["drain"]


def test_bounds_and_figures_are_written_with_their_unit() -> None:
    assert table.bound(DRAIN, DRAIN.floor) == f"≥ 1.5 {table.TIMES}"
    assert table.bound(WAIT, WAIT.aim) == "≤ 2 ms"
    assert table.figure(16_800.4, 0.07, "/s") == "16,800/s ± 4 %"
    assert table.figure(2.46, 0.0, "ms") == "2.5 ms ± 0 %"


@pytest.mark.postgres
def test_commits_that_are_measured_wait_for_the_disk(bench: Bench, stack: ExitStack) -> None:
    engine = create_engine(bench.empty(POSTGRES))
    stack.callback(engine.dispose)
    with engine.connect() as connection:
        waits = connection.exec_driver_sql("SHOW synchronous_commit").scalar()

    assert waits == "on"


def test_sides_are_measured_in_turn(bench: Bench) -> None:
    order: list[str] = []

    def measure(name: str) -> Taken:
        order.append(name)
        return Taken({}, 0.0)

    list(in_turn(bench, 2, {OURS: lambda _: measure(OURS), HUEY: lambda _: measure(HUEY)}))

    assert order == [OURS, HUEY, OURS, HUEY]


def test_rows_are_chosen_by_a_part_of_their_name_and_what_takes_long_only_if_asked_for() -> None:
    everything = trials(Sizes())
    drains = select(everything, ["DRAIN"], deep=False)

    assert all("drain" in trial.rows[0].name for trial in drains)
    assert len(select(everything, ["drain"], deep=True)) == len(drains) + 2
    with pytest.raises(SystemExit, match="no row has 'oban' in its name; the rows are\n  drain, PostgreSQL"):
        select(everything, ["oban"], deep=False)


def test_a_smaller_run_keeps_what_rows_are_named_after() -> None:
    names = {row.name for trial in trials(Sizes()) for row in trial.rows}

    assert {row.name for trial in trials(Sizes().scaled(0.01)) for row in trial.rows} == names
    assert Sizes().scaled(0.01).drained == Sizes().drained / 100


def test_a_page_is_not_written_from_a_smaller_run() -> None:
    with pytest.raises(SystemExit, match="--write-docs wants 5 rounds at full size"):
        main("speed", "--write-docs", "--scale", "0.1")


def test_rows_of_an_earlier_run_stay_on_the_page_if_machine_and_versions_are_the_same() -> None:
    old = Record({"Python": "3.11"}, {"drain": a_result(1), "wait": a_result(2)})
    new = {"drain": a_result(3)}

    assert list(merged(old, {"Python": "3.11"}, new, ["wait", "drain"]).rows) == ["wait", "drain"]
    assert merged(old, {"Python": "3.12"}, new, ["wait", "drain"]).rows == new


def test_the_page_is_what_the_recorded_figures_come_to() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(results.read(page.RECORD)), (
        "run `python -m tests.benchmarks speed --write-docs`"
    )


def test_the_page_names_what_is_below_its_floor_and_what_was_measured_under_noise() -> None:
    first, second = trials(Sizes())[0].rows[0], trials(Sizes())[1].rows[0]
    text = page.render(Record({"Python": "3.11"}, {first.name: a_result(1, 1.0), second.name: a_result(1, 2.6, 0.9)}))

    assert f"Below the floor:\n\n- {first.name}\n" in text
    assert "1/s ± 5 % (noise 0.9)" in text
    assert "| the aim |" in text
    assert "Nothing on this page has been measured" not in text


def test_starts_are_counted_by_all_workers_and_come_in_order(tmp_path: Path) -> None:
    starts = Starts.create(tmp_path / "starts", 10)
    for number in range(10):
        Starts(tmp_path / "starts", worker=number % 2).record(number)
        time.sleep(0.001)
    began = starts.wait_for_any(10, alive=lambda: None, seconds=1)

    assert began == sorted(began)
    assert len(began) == 10
    assert 1 < rate(began) < 1000
    with pytest.raises(TimeoutError, match="job 11 does not start"):
        Starts.create(tmp_path / "starts", 12).wait_for(11, seconds=0.01)


def test_a_percentile_is_one_of_the_figures() -> None:
    assert percentile(list(range(1, 201)), 0.99) == 198
    assert percentile([7], 0.5) == 7


def test_our_queue_is_measured_on_sqlite(bench: Bench) -> None:
    """In miniature: processes start, jobs are enqueued and performed, and each figure is there."""
    drained = drain(bench, ALONE, waiting=20, where=SQLITE)
    at_once = enqueue(bench, ALONE, jobs=20, how="enqueue_at_once", by=(10,), where=SQLITE)

    assert drained.figures["rate"] > 0
    assert at_once.figures["rate"] > 0


def test_a_worker_that_has_ended_is_said_so(bench: Bench) -> None:
    with bench.starts(ALONE, bench.empty(SQLITE), 1) as (starts, told), bench.workers(told, 1) as workers:
        starts.await_ready(1, workers.alive)
        workers._processes[0].kill()
        workers._processes[0].wait()

        with pytest.raises(RuntimeError, match="a worker has ended with -9"):
            starts.wait_for_any(1, workers.alive, seconds=1)
