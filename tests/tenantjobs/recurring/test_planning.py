from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tenantjobs.recurring import planning
from tenantjobs.recurring.entries import CatchUp
from tenantjobs.schedules import Schedule, parse

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def all_between(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found = []
    while (after := schedule.next_after(after)) <= until:
        found.append(after)
    return found


@given(
    text=st.sampled_from(["every minute", "every 15 minutes", "every hour", "every day at 9am", "every monday"]),
    minutes=st.integers(0, 60 * 24 * 40),
    catch_up=st.sampled_from(["skip", "once", "all"]),
)
def test_what_is_due_is_what_was_on_time_and_as_much_of_the_rest_as_is_wanted(
    text: str, minutes: int, catch_up: str
) -> None:
    schedule, after = parse(text), NOON - timedelta(minutes=minutes)
    everything = all_between(schedule, after, NOON)
    found = planning.due(schedule, after, NOON, cast(CatchUp, catch_up))
    on_time = [time for time in everything if NOON - time <= planning.LATE]

    assert everything[-planning.MOST :] == planning.due(schedule, after, NOON, "all")
    if catch_up == "skip":
        assert on_time == found
    elif catch_up == "once":
        assert (on_time or everything[-1:]) == found


def test_the_last_of_very_many_are_found_at_once() -> None:
    found = planning.due(parse("every second"), NOON - timedelta(days=3000), NOON, "all")

    assert [NOON - timedelta(seconds=number) for number in range(99, -1, -1)] == found


def test_a_period_is_the_instant_or_what_a_clock_shows() -> None:
    berlin = NOON.astimezone(ZoneInfo("Europe/Berlin"))

    assert "2026-06-01T12:00:00+00:00" == planning.period(berlin, local=False)
    assert "2026-06-01T14:00:00" == planning.period(berlin, local=True)


def test_nothing_is_due_anywhere_before_the_first_clock_of_the_world() -> None:
    found = planning.next_anywhere(parse("every day at midnight"), NOON - timedelta(hours=2, seconds=1))

    assert NOON - timedelta(hours=2) == found  # midnight on Kiritimati, 14 hours ahead
