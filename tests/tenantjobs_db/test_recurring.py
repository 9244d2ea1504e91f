from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select

from tenantjobs import Current, clock, job, recurring, testing
from tenantjobs.adapter import WorkOptions
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.recurring import Scheduler, managing
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.tables import jobs, ticks

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

performed: list[tuple[str | None, str]] = []


def sweep(what: str = "all") -> None:
    performed.append((Current.tenant_id, what))


Write = Callable[[str], Scheduler]


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    performed.clear()
    clock.move(NOON - clock.now())
    yield
    clock.put_right()


@pytest.fixture
def report(registry: dict[str, Definition]) -> Any:
    @job(name="report", tenancy="optional")
    def report(what: str = "all") -> None:
        performed.append((Current.tenant_id, what))

    return report


@pytest.fixture
def write(adapter: DatabaseAdapter, report: Any, tmp_path: Path) -> Iterator[Write]:
    """Write the entries of the file, as ``key: {...}``, and make a scheduler that has seen them."""
    file = tmp_path / "recurring.yml"
    file.write_text("development:\n")

    def write(text: str) -> Scheduler:
        lines = "".join(f"  {line}\n" for line in text.strip().splitlines())
        file.write_text(f"development:\n{lines}")
        scheduler = Scheduler()
        scheduler.tick()
        return scheduler

    with testing.override(recurring=str(file), tenants=lambda: ["acme", "globex"]):
        yield write


def pass_by(**time: float) -> None:
    clock.move(timedelta(**time))


def waiting(database: Database) -> list[Envelope]:
    with database.begin() as connection:
        rows = connection.execute(select(jobs.c.data).order_by(jobs.c.tenant, jobs.c.id)).scalars()
        return [Envelope.decode(data.encode()) for data in rows]


def tenants(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.execute(select(jobs.c.tenant).order_by(jobs.c.tenant)).scalars())


@pytest.mark.parity("1b.29", "1b.30")
def test_an_entry_is_enqueued_when_it_comes_due_and_once(write: Write, database: Database) -> None:
    scheduler = write(
        'nightly: {class: report, args: [x], schedule: every hour, queue: low, priority: 7, system: "all"}'
    )
    pass_by(minutes=59)

    assert 0 == scheduler.tick()
    pass_by(minutes=1, seconds=1)
    assert 1 == scheduler.tick()
    assert 0 == scheduler.tick()
    (envelope,) = waiting(database)
    assert ("report", "low", 7) == (envelope.name, envelope.queue, envelope.priority)


def test_what_is_no_job_is_called_by_the_workers(write: Write, adapter: DatabaseAdapter) -> None:
    scheduler = write(f'sweeping: {{call: "{__name__}:sweep", args: [dust], every: 1h, system: "all"}}')
    pass_by(hours=1, seconds=1)

    assert 1 == scheduler.tick()
    adapter.drain()
    assert [(None, "dust")] == performed


@pytest.mark.parity("1b.31")
def test_of_many_schedulers_one_enqueues_each_tick(write: Write, database: Database) -> None:
    first = write("nightly: {class: report, schedule: every minute, for_each_tenant: true}")
    schedulers = [first, *(Scheduler() for _ in range(4))]
    for _ in range(3):
        pass_by(minutes=1)
        threads = [threading.Thread(target=scheduler.tick) for scheduler in schedulers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert ["acme"] * 3 + ["globex"] * 3 == tenants(database)


def test_each_tenant_gets_a_job_of_its_own(write: Write, adapter: DatabaseAdapter) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    pass_by(hours=1, seconds=1)

    assert 2 == scheduler.tick()
    adapter.drain()
    assert [("acme", "all"), ("globex", "all")] == sorted(performed)


def test_a_tenant_that_is_none_keeps_no_other_back(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    pass_by(hours=1, seconds=1)
    with testing.override(tenants=lambda: iter(["acme", "", None, "globex"])):
        assert 2 == scheduler.tick()

    assert ["acme", "globex"] == tenants(database)


def test_a_tenant_that_is_closed_keeps_no_other_back(
    write: Write, database: Database, adapter: DatabaseAdapter
) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    adapter.controls.drain("acme")
    pass_by(hours=1, seconds=1)

    assert 1 == scheduler.tick()
    assert ["globex"] == tenants(database)


def test_who_was_stopped_half_way_through_the_tenants_goes_on_there(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    many = [f"tenant{number:04}" for number in range(1200)]

    def broken() -> Iterator[str]:
        yield from many[:700]
        raise RuntimeError("the database is gone")

    pass_by(hours=1, seconds=1)
    with testing.override(tenants=broken):
        assert 0 == scheduler.tick()
    assert 500 == len(tenants(database))

    with testing.override(tenants=lambda: many):
        scheduler.tick()
    assert many == tenants(database)


def test_jobs_of_many_tenants_are_spread(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true, jitter: 10m}")
    pass_by(hours=1)
    with testing.override(tenants=lambda: map(str, range(50))):
        scheduler.tick()
    delays = [(envelope.due_at or NOON) - NOON - timedelta(hours=1) for envelope in waiting(database)]

    assert len(set(delays)) > 30
    assert all(delay < timedelta(minutes=10) for delay in delays)


@pytest.mark.parity("1c.17")
@pytest.mark.parametrize(
    ("catch_up", "count"),
    [("skip", 0), ("once", 1), ("all", 3)],
)
def test_what_was_missed_is_caught_up_as_the_entry_says(write: Write, catch_up: str, count: int) -> None:
    scheduler = write(f"nightly: {{class: report, schedule: every hour, catch_up: {catch_up}, system: all}}")
    pass_by(hours=3, minutes=30)

    assert count == scheduler.tick()
    pass_by(minutes=30)
    assert 1 == scheduler.tick()


@pytest.mark.parity("1c.17")
def test_what_was_missed_is_caught_up_within_bounds(write: Write) -> None:
    scheduler = write("nightly: {class: report, schedule: every second, catch_up: all, system: all}")
    pass_by(days=300)

    assert 100 == scheduler.tick()


@pytest.mark.parity("1b.30")
def test_times_are_reckoned_from_the_last_one_as_it_was_meant(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every 10 minutes, system: all}")
    for _ in range(6):
        pass_by(minutes=10, seconds=3)  # a scheduler that is late each time
        scheduler.tick()
    with database.begin() as connection:
        due = connection.execute(select(ticks.c.due_at).order_by(ticks.c.due_at)).scalars().all()

    assert [NOON + timedelta(minutes=10 * number) for number in range(1, 7)] == list(due)


@pytest.mark.parity("1c.17")
def test_an_entry_that_is_paused_leaves_out_what_comes_due_until_it_is_resumed(write: Write) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, system: all}")
    recurring.pause("nightly")
    pass_by(hours=2, seconds=1)
    assert 0 == scheduler.tick()
    recurring.resume("nightly")

    assert 0 == scheduler.tick()
    pass_by(hours=1)
    assert 1 == scheduler.tick()


def test_an_entry_is_run_by_hand_beside_its_schedule(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")

    assert 2 == recurring.run("nightly")
    assert 1 == recurring.run("nightly", tenant_id="acme")
    assert ["acme", "acme", "globex"] == tenants(database)
    pass_by(hours=1, seconds=1)
    assert 2 == scheduler.tick()


def test_an_entry_that_is_not_there_is_refused_with_the_nearest(write: Write) -> None:
    write("nightly: {class: report, schedule: every hour, system: all}")

    with pytest.raises(ConfigurationError, match="did you mean nightly"):
        recurring.run("nightyl")
    with pytest.raises(ConfigurationError, match="is not for each tenant"):
        recurring.run("nightly", tenant_id="acme")


@pytest.mark.parity("1b.32")
def test_what_is_scheduled_at_run_time_is_noticed_and_so_are_its_edits(
    write: Write, report: Any, database: Database
) -> None:
    scheduler = write("nightly: {class: report, schedule: every day, system: all}")
    recurring.schedule("hourly", report, "a", schedule="every hour", system="all")
    pass_by(hours=1, seconds=1)
    assert 1 == scheduler.tick()

    recurring.schedule("hourly", report, "b", schedule="every 30 minutes", system="all")
    pass_by(minutes=30)
    assert 1 == scheduler.tick()

    recurring.unschedule("hourly")
    pass_by(hours=1)
    assert 0 == scheduler.tick()
    assert 2 == len(waiting(database))


@pytest.mark.parity("1b.32")
def test_what_the_file_says_is_not_changed_at_run_time(write: Write, report: Any) -> None:
    write("nightly: {class: report, schedule: every day, system: all}")

    with pytest.raises(ConfigurationError, match="is one of the file"):
        recurring.schedule("nightly", report, schedule="every hour", system="all")
    with pytest.raises(ConfigurationError, match="is one of the file"):
        recurring.unschedule("nightly")
    with pytest.raises(ConfigurationError, match="nothing was scheduled as 'other'"):
        recurring.unschedule("other")


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"schedule": "every 45 minutes"}, "every 30 minutes and every hour"),
        ({}, "say when"),
        ({"every": "1h", "kwargs": {"whom": 1}}, "unexpected keyword argument 'whom'"),
        ({"every": "1h", "kwargs": {"what": {1, 2}}}, "not plain JSON"),
        ({"every": "1h", "jitter": "5m"}, "jitter: spreads the jobs of many tenants"),
        ({"every": "1h", "system": "x", "for_each_tenant": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_at_the_call(
    write: Write, report: Any, said: dict[str, Any], refused: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        recurring.schedule("hourly", report, **said)

    assert refused in str(error.value)
    assert 0 == Scheduler().tick()


ZONES = {"acme": "America/New_York", "globex": "Europe/Berlin"}


def test_tenants_with_time_zones_have_their_own_nine_o_clock(write: Write, database: Database) -> None:
    with testing.override(zone_of=ZONES.get):
        scheduler = write("nightly: {class: report, schedule: every day at 3pm, for_each_tenant: true}")
        pass_by(hours=1, seconds=5)  # 13:00 UTC is 15:00 in Berlin
        assert 1 == scheduler.tick()
        assert ["globex"] == tenants(database)
        pass_by(hours=6)  # 19:00 UTC is 15:00 in New York
        assert 1 == scheduler.tick()

    assert ["acme", "globex"] == tenants(database)


def test_a_tenant_that_moves_west_does_not_have_the_same_day_twice(write: Write, database: Database) -> None:
    zones = {"acme": "Pacific/Auckland"}
    with testing.override(zone_of=zones.get, tenants=lambda: ["acme"]):
        scheduler = write("nightly: {class: report, schedule: every day at midnight, for_each_tenant: true}")
        pass_by(seconds=5)  # noon in UTC is midnight in Auckland, the 2nd of June
        assert 0 == scheduler.tick()  # it was midnight there when the entry began
        pass_by(days=1)
        assert 1 == scheduler.tick()  # the 3rd of June
        zones["acme"] = "Pacific/Honolulu"
        pass_by(hours=22)  # where the 3rd of June begins now
        assert 0 == scheduler.tick()
        pass_by(hours=24)
        assert 1 == scheduler.tick()


def test_an_hour_that_a_tenants_clock_shows_twice_has_two_ticks(write: Write, database: Database) -> None:
    clock.move(datetime(2026, 11, 1, 4, 0, 1, tzinfo=UTC) - clock.now())
    with testing.override(zone_of=ZONES.get, tenants=lambda: ["acme"]):
        scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
        for _ in range(3):
            pass_by(hours=1)
            scheduler.tick()
    with database.begin() as connection:
        periods = connection.execute(select(ticks.c.period).order_by(ticks.c.due_at)).scalars().all()

    assert ["2026-11-01T01:00:00", "2026-11-01T01:00:00+", "2026-11-01T02:00:00"] == list(periods)


def test_a_tenant_whose_time_zone_is_none_is_left_out(write: Write, database: Database) -> None:
    with testing.override(zone_of=lambda tenant: "Mars/Phobos" if tenant == "acme" else "UTC"):
        scheduler = write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
        pass_by(hours=1, seconds=1)
        assert 1 == scheduler.tick()

    assert ["globex"] == tenants(database)


@pytest.mark.parity("1b.33")
def test_a_schedule_without_a_zone_is_read_in_the_one_that_is_configured(write: Write) -> None:
    with testing.override(time_zone="America/New_York"):
        write("nightly: {class: report, schedule: every day at 9am, system: all}")
        (shown,) = managing.shown()

    assert "2026-06-01T09:00:00-04:00" == (shown.next_at or NOON).isoformat()
    assert "every day at 9am" == shown.schedule


def test_ticks_are_forgotten_after_a_week_unless_their_entry_is_not_done_with_them(
    write: Write, adapter: DatabaseAdapter, database: Database
) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, system: all}")
    pass_by(hours=1, seconds=1)
    scheduler.tick()
    pass_by(days=8)

    assert 1 == adapter.ticks.prune()
    assert 0 == adapter.ticks.prune()


@pytest.mark.parity("1b.31")
def test_ticks_do_not_depend_on_finished_jobs_being_kept(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every hour, system: all}")
    pass_by(hours=1, seconds=1)
    scheduler.tick()
    with database.begin() as connection:
        connection.execute(jobs.delete())

    assert 0 == Scheduler().tick()


def test_an_error_in_the_transaction_leaves_the_tick_to_the_next_look(
    write: Write, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenantjobs import faults

    scheduler = write("nightly: {class: report, schedule: every hour, system: all}")
    pass_by(hours=1, seconds=1)

    def fail(point: str) -> None:
        if point == "after_recurring":
            raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", fail)
        assert 0 == scheduler.tick()
    assert [] == tenants(database)

    assert 1 == scheduler.tick()
    with database.begin() as connection:
        assert 1 == connection.execute(select(func.count()).select_from(ticks)).scalar_one()


def test_a_scheduler_runs_on_a_thread_until_it_is_left(write: Write, database: Database) -> None:
    scheduler = write("nightly: {class: report, schedule: every second, system: all}")
    clock.put_right()
    recurring.resume("nightly")
    with scheduler.running():
        assert scheduler.pause() <= 1.0

    assert 0 == scheduler.work(WorkOptions(drain=True))


def test_another_queue_gets_the_jobs_and_the_database_keeps_their_ticks(write: Write, database: Database) -> None:
    write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    with testing.override(adapter="test"):
        one, other = Scheduler(), Scheduler()
        pass_by(hours=1, seconds=1)
        assert 2 == one.tick()
        assert 0 == other.tick()
        testing.drain()

    assert [("acme", "all"), ("globex", "all")] == sorted(performed)
    assert [] == tenants(database)


def test_a_queue_that_does_not_take_the_jobs_has_its_ticks_tried_again(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenantjobs import adapter as adapters

    write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    with testing.override(adapter="test"):
        scheduler, queue = Scheduler(), adapters.configured()

        def down(_envelopes: object) -> None:
            raise OSError("the broker is down")

        pass_by(hours=1, seconds=1)
        with monkeypatch.context() as patch:
            patch.setattr(queue, "enqueue_all", down)
            patch.setattr(queue, "enqueue", down)
            assert 0 == scheduler.tick()

        assert 2 == scheduler.tick()
        assert 0 == scheduler.tick()


def test_with_an_outbox_the_tick_commits_with_the_job_on_its_way(
    write: Write, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenantjobs import adapter as adapters
    from tenantjobs_db.tables import outbox

    write("nightly: {class: report, schedule: every hour, for_each_tenant: true}")
    engine = create_engine(database.engine.url)
    with testing.override(adapter="test", outbox=True, db={"url": None, "engine": engine}):
        scheduler, queue = Scheduler(), adapters.configured()

        def down(_envelopes: object) -> None:
            raise OSError("the broker is down")

        pass_by(hours=1, seconds=1)
        monkeypatch.setattr(queue, "enqueue_all", down)
        assert 2 == scheduler.tick()
        assert 0 == scheduler.tick()
    with database.begin() as connection:
        assert ["acme", "globex"] == list(
            connection.execute(select(outbox.c.tenant).order_by(outbox.c.tenant)).scalars()
        )
