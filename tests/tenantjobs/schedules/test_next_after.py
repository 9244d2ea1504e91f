from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis import strategies as st

from tenantjobs.errors import ConfigurationError
from tenantjobs.schedules import Schedule, parse

DAY = timedelta(days=1)


def times(text: str, start: str, count: int) -> list[str]:
    """The first ``count`` times after ``start``, with their offsets."""
    schedule = parse(text)
    moment, found = datetime.fromisoformat(start), []
    for _ in range(count):
        moment = schedule.next_after(moment)
        found.append(moment.isoformat())
    return found


def test_the_next_time_is_in_the_zone_of_the_schedule() -> None:
    found = parse("every day at 9am America/New_York").next_after(datetime(2026, 6, 1, 12, tzinfo=UTC))

    assert "2026-06-01T09:00:00-04:00" == found.isoformat()


def test_it_is_never_the_moment_itself() -> None:
    nine = datetime(2026, 6, 1, 9, tzinfo=UTC)

    assert nine == parse("every day at 9am").next_after(nine - timedelta(microseconds=1))
    assert nine + DAY == parse("every day at 9am").next_after(nine)
    assert nine + DAY == parse("every day at 9am").next_after(nine + timedelta(microseconds=1))


def test_of_several_expressions_the_soonest_counts() -> None:
    assert ["2026-06-01T18:15:00+00:00", "2026-06-01T20:45:00+00:00", "2026-06-02T18:15:00+00:00"] == times(
        "every day at 18:15 and 20:45", "2026-06-01T12:00+00:00", 3
    )


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse("every day").next_after(datetime(2026, 6, 1))  # noqa: DTZ001


@pytest.mark.parity("1d.24")
@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        (  # New York leaves 02:30 out: the first instant that there is
            "every day at 2:30am America/New_York",
            "2026-03-07T12:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        (  # and has 01:30 twice: the first of both
            "every day at 1:30am America/New_York",
            "2026-10-31T12:00-04:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        (  # also for who asks between both
            "every day at 1:30am America/New_York",
            "2026-11-01T06:10+00:00",
            ["2026-11-02T01:30:00-05:00"],
        ),
        (  # Lord Howe goes by half an hour
            "every day at 2:15am Australia/Lord_Howe",
            "2026-10-03T12:00+10:30",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        (
            "every day at 1:45am Australia/Lord_Howe",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        (  # Samoa left out a day
            "every day at 9am Pacific/Apia",
            "2011-12-28T12:00-10:00",
            ["2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"],
        ),
        (  # what happens every hour, or more often, goes on by the time that passes
            "every hour America/New_York",
            "2026-03-08T00:30-05:00",
            ["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"],
        ),
        (
            "every hour America/New_York",
            "2026-11-01T00:30-04:00",
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"],
        ),
        (
            "every 30 minutes America/New_York",
            "2026-11-01T00:50-04:00",
            [
                "2026-11-01T01:00:00-04:00",
                "2026-11-01T01:30:00-04:00",
                "2026-11-01T01:00:00-05:00",
                "2026-11-01T01:30:00-05:00",
            ],
        ),
        (
            "every 30 minutes Australia/Lord_Howe",
            "2026-04-05T01:10+11:00",
            ["2026-04-05T01:30:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"],
        ),
    ],
)
def test_clocks_that_are_changed_leave_nothing_out_and_double_nothing(
    text: str, start: str, expected: list[str]
) -> None:
    assert expected == times(text, start, len(expected))


ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Europe/Dublin", "Asia/Kathmandu")
moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
clocks = st.builds("{}:{:02}".format, st.integers(0, 3) | st.integers(0, 23), st.integers(0, 59))
phrases = st.one_of(
    st.builds("every {} minutes".format, st.sampled_from([1, 5, 15, 30])),
    st.builds("every {} hours".format, st.sampled_from([1, 2, 4, 12])),
    st.builds("every day at {}".format, st.lists(clocks, min_size=1, max_size=4).map(", ".join)),
    st.builds("every {} at {}".format, st.sampled_from(["monday", "weekend", "mon-fri", "1st and 15th"]), clocks),
    st.builds("every last day of the month at {}".format, clocks),
)
schedules = st.builds("{} {}".format, phrases, st.sampled_from(ZONES)).map(parse)
# Around the changes of the clocks, where there is something to get wrong: when they are, in UTC.
CHANGES = (
    *("2026-03-08T07:00", "2026-11-01T06:00"),  # New York
    *("2026-04-04T15:00", "2026-10-03T15:30"),  # Lord Howe
    *("2026-03-29T01:00", "2026-10-25T01:00"),  # Dublin
    "2011-12-30T10:00",  # Apia
)
critical = st.builds(
    lambda change, minutes: datetime.fromisoformat(f"{change}+00:00") + timedelta(minutes=minutes),
    st.sampled_from(CHANGES),
    st.integers(-180, 180),
)


@given(schedule=schedules, moment=moments | critical)
def test_the_next_time_is_later_and_on_the_schedule_and_nothing_is_between(
    schedule: Schedule, moment: datetime
) -> None:
    found = schedule.next_after(moment)

    assert found.timestamp() > moment.timestamp()
    assert found.tzinfo is schedule.zone
    assert found.timestamp() == schedule.next_after(found.astimezone(UTC) - timedelta(seconds=1)).timestamp()
    between = moment + (found.astimezone(UTC) - moment) / 2
    assert found.timestamp() == schedule.next_after(between).timestamp()


@given(schedule=schedules, moment=moments | critical, zone=st.sampled_from(ZONES))
def test_it_depends_on_the_instant_and_not_on_how_that_is_written(
    schedule: Schedule, moment: datetime, zone: str
) -> None:
    assert schedule.next_after(moment).timestamp() == schedule.next_after(moment.astimezone(ZoneInfo(zone))).timestamp()


@given(schedule=schedules, moment=critical)
@example(schedule=parse("every 1 minutes Pacific/Apia"), moment=datetime(2011, 12, 30, 9, 59, tzinfo=UTC))
def test_who_asks_again_and_again_gets_what_one_walk_gives(schedule: Schedule, moment: datetime) -> None:
    asked, walked = [], set()
    for cron in schedule.crons:
        walked |= walk(cron, schedule, moment)
    for _ in range(6):
        moment = schedule.next_after(moment)
        asked.append(moment.timestamp())

    assert sorted(walked)[:6] == asked


def walk(cron: str, schedule: Schedule, moment: datetime) -> set[float]:
    """Six times after the moment, without what happens to an expression where the clock is changed under it."""
    local = moment.astimezone(schedule.zone)
    if CronSim(cron, local).fixup_tz is not None:  # an hour of the clock: one walk from days before
        later = (found.timestamp() for found in CronSim(cron, local - 2 * DAY) if found > moment)
        return {next(later) for _ in range(6)}
    found = set()
    # A clock of each kind that is not changed.
    for offset in {(moment + days * DAY).astimezone(schedule.zone).utcoffset() for days in (-1, 0, 1)}:
        assert offset is not None
        there = islice(CronSim(cron, moment.astimezone(timezone(offset))), 3000)
        found |= {t.timestamp() for t in there if t > moment and t.astimezone(schedule.zone).utcoffset() == offset}
    return set(sorted(found)[:6])


def test_every_four_hours_goes_on_where_clocks_are_put_back_by_half_an_hour() -> None:
    schedule = parse("every 4 hours Australia/Lord_Howe")

    midnight = datetime(2026, 4, 4, 13, tzinfo=UTC)
    assert schedule.next_after(midnight) == datetime(2026, 4, 4, 17, 30, tzinfo=UTC)  # 04:00 there, 4.5 h later


@given(schedule=schedules)
def test_its_expressions_are_a_schedule_again(schedule: Schedule) -> None:
    for cron in schedule.crons:
        assert (cron,) == parse(f"{cron} {schedule.zone}").crons


WORDS = """
    every each at on of from to and , the day days monday mon-fri 1st last hour minutes minute 5 15 30 9am noon starting
    month january UTC Europe/Berlin second weekend between through L * 0 */5 1h
"""
words = st.sampled_from(sorted(set(WORDS.split())))


@given(text=st.lists(words, max_size=9).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_schedule_or_is_refused_as_one(text: str) -> None:
    try:
        found = parse(text)
    except ConfigurationError:
        return

    assert found.next_after(datetime(2026, 1, 1, tzinfo=UTC)).timestamp() > datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert found.explain()
