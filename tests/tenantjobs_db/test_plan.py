from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenantjobs import testing
from tenantjobs.adapter import WorkOptions
from tenantjobs.config import Misconfigured
from tenantjobs_db import plan_file
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.plan import DispatcherPlan, GatePlan, Plan, SchedulerPlan, WorkerPlan, processors, size
from tenantjobs_db.settings import DatabaseSettings
from tests.configuration import nothing_configured, write

Read = Callable[..., Plan]
GATE = {"adapter": "rq"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with nothing_configured(tmp_path) as path:
        yield path


@pytest.fixture
def read(folder: Path) -> Read:
    """The plan that a file makes."""

    def read(text: str, environment: str = "development") -> Plan:
        with testing.override(environment=environment):
            return plan_file.read(write(folder, text, "config/queue.yml"))

    return read


@pytest.fixture
def mistakes(read: Read) -> Callable[[str], tuple[str, ...]]:
    def mistakes(text: str) -> tuple[str, ...]:
        with pytest.raises(Misconfigured) as error:
            read(text)
        return error.value.mistakes

    return mistakes


@pytest.mark.parity("1b.25")
def test_each_environment_has_its_section(read: Read) -> None:
    text = """\
default: &default
  dispatchers: [{polling_interval: 2, batch_size: 100}]
development:
  <<: *default
  workers:
    - {queues: [critical, default], threads: 5, polling_interval: 0.5}
    - {queues: mail*, max_jobs: 1000, max_age: 3600, max_memory: 512MB}
production:
  <<: *default
"""

    development = read(text)

    assert development == Plan(
        dispatchers=(DispatcherPlan(polling_interval=2, batch_size=100),),
        workers=(
            WorkerPlan(queues=("critical", "default"), threads=5, polling_interval=0.5),
            WorkerPlan(queues="mail*", max_jobs=1000, max_age=3600, max_memory="512MB"),
        ),
    )
    assert development.workers[1].names == ("mail*",)
    limits = development.workers[1].limits
    assert limits is not None
    assert (limits.max_jobs, limits.max_age, limits.max_memory) == (1000, 3600, 512_000_000)
    assert read(text, "production").posts() == [DispatcherPlan(polling_interval=2, batch_size=100), SchedulerPlan()]


@pytest.mark.parametrize(("value", "processes"), [("", processors()), ("4", 4), ("auto", processors())])
def test_how_many_processes_there_are_may_be_said_by_a_variable(
    read: Read, monkeypatch: pytest.MonkeyPatch, value: str, processes: int
) -> None:
    monkeypatch.setenv("JOB_CONCURRENCY", value)

    plan = read('development: {workers: [{processes: "${JOB_CONCURRENCY:-auto}"}]}')

    assert plan.posts() == [SchedulerPlan(), *[plan.workers[0]] * processes]


@pytest.mark.parametrize("text", ["", "development:\n", "development: {}\n"])
@pytest.mark.parity("1b.25")
def test_a_file_that_says_nothing_is_one_of_each(read: Read, text: str) -> None:
    assert read(text).posts() == [DispatcherPlan(), SchedulerPlan(), WorkerPlan()]


def test_recurring_jobs_may_be_enqueued_elsewhere_or_only_here(read: Read) -> None:
    assert read("development: {workers: [{}], scheduler: false}").posts() == [WorkerPlan()]
    assert read("development: {scheduler: true}").posts() == [SchedulerPlan()]


@pytest.mark.parity("1b.28")
def test_the_file_is_beside_the_configuration_or_where_it_says(folder: Path) -> None:
    assert DatabaseAdapter(DatabaseSettings()).plan is None
    write(folder, "", "config/queue.yml")
    assert DatabaseAdapter(DatabaseSettings()).plan == "config/queue.yml"
    assert DatabaseAdapter(DatabaseSettings(queue_file="other.yml")).plan == "other.yml"


def test_a_file_that_is_named_has_to_be_there(folder: Path) -> None:
    with pytest.raises(Misconfigured, match=r"other\.yml: cannot be read: No such file"):
        plan_file.read(folder / "other.yml")


@pytest.mark.parity("1b.27")
def test_every_mistake_is_told_at_once_with_its_place_and_the_nearest_name(
    mistakes: Callable[[str], tuple[str, ...]],
) -> None:
    found = mistakes(
        """\
development:
  workers:
    - {queue: [critical], threads: 0}
    - queues: [critical, "*"]
    - {max_memory: lots}
  dispatcher: [{polling_interval: 1}]
"""
    )

    assert [mistake.partition(": ")[0] for mistake in found] == [
        "config/queue.yml:3:8",
        "config/queue.yml:3:36",
        "config/queue.yml:4:7",
        "config/queue.yml:5:7",
        "config/queue.yml:6:3",
    ]
    assert "did you mean queues?" in found[0]
    assert 'write ["*"], or ["critical"]' in found[2]
    assert '"512MB"' in found[3]
    assert "did you mean dispatchers?" in found[4]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("production: {}", "has no section 'development'"),
        ("development: {workers: [], scheduler: false}", "no process"),
        ('development: {workers: [{queues: "a,b"}]}', 'write ["a", "b"]'),
        ("development: {workers: [{processes: many}]}", "processes"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(
    mistakes: Callable[[str], tuple[str, ...]], text: str, what: str
) -> None:
    (mistake,) = mistakes(text)

    assert what in mistake


def test_a_number_of_processes_is_so_many_workers_and_a_dispatcher() -> None:
    worker = WorkerPlan(queues=("low",), threads=2, processes=3, polling_interval=0.5)

    plan = Plan.of(WorkOptions(queues=("low",), threads=2, polling_interval=0.5), 3)

    assert plan.posts() == [DispatcherPlan(), SchedulerPlan(), worker, worker, worker]


@pytest.mark.parametrize(
    ("text", "bytes_"), [("100B", 100), ("1kb", 1000), ("1.5 GB", 1_500_000_000), ("2MiB", 2 * 2**20)]
)
def test_memory_is_written_with_its_unit(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


def test_before_a_broker_there_are_gates_instead_of_workers(read: Read) -> None:
    with testing.override(adapter="db", gate=GATE):
        assert read("development:\n  gates: [{polling_interval: 1}]\n").gates == (GatePlan(polling_interval=1),)
        assert read("development: {}\n") == Plan(gates=(GatePlan(),), dispatchers=(DispatcherPlan(),))


def test_workers_behind_a_gate_are_refused(mistakes: Callable[[str], tuple[str, ...]]) -> None:
    with testing.override(adapter="db", gate=GATE):
        (mistake,) = mistakes("development:\n  workers: [{threads: 3}]\n")

    assert "write gates: [{}] instead" in mistake


def test_gates_without_a_broker_are_refused(mistakes: Callable[[str], tuple[str, ...]]) -> None:
    (mistake,) = mistakes("development:\n  gates: [{}]\n")

    assert "there is no [gate] in the configuration" in mistake
