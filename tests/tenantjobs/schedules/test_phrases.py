from __future__ import annotations

import pytest

from tenantjobs import schedules
from tenantjobs.errors import ConfigurationError
from tenantjobs.schedules import parse

# Every `schedule`, `cron` and `every` that the documents have which this project was written from.
SOURCES = [
    ("every 30 minutes", "*/30 * * * *", "UTC"),
    ("every hour at minute 50", "50 * * * *", "UTC"),
    ("every day at 04:02", "2 4 * * *", "UTC"),
    ("every hour at minute 12", "12 * * * *", "UTC"),
    ("every 4 hours at minute 51", "51 */4 * * *", "UTC"),
    ("every 4 hours", "0 */4 * * *", "UTC"),
    ("every day at 2am", "0 2 * * *", "UTC"),
    ("every day at 8am", "0 8 * * *", "UTC"),
    ("every 15 minutes", "*/15 * * * *", "UTC"),
    ("every monday at 9am", "0 9 * * 1", "UTC"),
    ("every 5 minutes", "*/5 * * * *", "UTC"),
    ("every 2 hours", "0 */2 * * *", "UTC"),
    ("every day", "0 0 * * *", "UTC"),
    ("every day at 3pm", "0 15 * * *", "UTC"),
    ("every 1st of month at 8am", "0 8 1 * *", "UTC"),
    ("every day at 9am, 3pm, 9pm", "0 9,15,21 * * *", "UTC"),
    ("every day at 9am America/New_York", "0 9 * * *", "America/New_York"),
    ("every hour at minute 15", "15 * * * *", "UTC"),
    ("every day at 2:30am", "30 2 * * *", "UTC"),
    ("every 1st day of month at 3am", "0 3 1 * *", "UTC"),
    ("every day at 3am", "0 3 * * *", "UTC"),
    ("every sunday at 9am", "0 9 * * 0", "UTC"),
    ("0 2 * * *", "0 2 * * *", "UTC"),
    ("0 6 * * *", "0 6 * * *", "UTC"),
    ("1h", "0 * * * *", "UTC"),
]


@pytest.mark.parity("1d.01", "1d.02", "1d.03", "1d.04", "1d.05", "1d.06", "1d.07", "1d.08", "1d.09")
@pytest.mark.parametrize(("text", "cron", "zone"), SOURCES)
def test_every_schedule_of_the_sources_works(text: str, cron: str, zone: str) -> None:
    found = parse(text)

    assert (cron,) == found.crons
    assert zone == str(found.zone)


@pytest.mark.parity("1d.02", "1d.04", "1d.06", "1d.11", "1d.12", "1d.13", "1d.14", "1d.15")
@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("every hour at minutes 5, 35", "5,35 * * * *"),
        ("every hour at minute 5 and 35", "5,35 * * * *"),
        ("every 8 hours at minute 16", "16 */8 * * *"),
        ("every day at 9am, 3pm and 9pm", "0 9,15,21 * * *"),
        ("every day at 9am or 3pm", "0 9,15 * * *"),
        ("every day at 9am and at 5pm", "0 9,17 * * *"),
        ("every day at 9:00, 9:30, 10:00 and 10:30", "0,30 9,10 * * *"),
        ("every minute", "* * * * *"),
        ("every hour", "0 * * * *"),
        ("every week", "0 0 * * 0"),
        ("every week on monday at 9am", "0 9 * * 1"),
        ("every month", "0 0 1 * *"),
        ("every year", "0 0 1 1 *"),
        ("every year on january 1st at 9am", "0 9 1 1 *"),
        ("every january 1st at noon", "0 12 1 1 *"),
        ("every january and july", "0 0 1 1,7 *"),
        ("every 1st of january and july at 6:30", "30 6 1 1,7 *"),
        ("every weekday", "0 0 * * 1-5"),
        ("every weekday at 9am", "0 9 * * 1-5"),
        ("on weekdays at 9am", "0 9 * * 1-5"),
        ("every day on weekdays at 9am", "0 9 * * 1-5"),
        ("every mon-fri at 9am", "0 9 * * 1-5"),
        ("every monday to friday at 9am", "0 9 * * 1-5"),
        ("every friday through monday", "0 0 * * 0,1,5,6"),
        ("every monday and friday at 9am", "0 9 * * 1,5"),
        ("every monday, wednesday and friday", "0 0 * * 1,3,5"),
        ("every mon, tues and thu", "0 0 * * 1,2,4"),
        ("at 5am every day", "0 5 * * *"),
        ("9am", "0 9 * * *"),
        ("at 9am", "0 9 * * *"),
        ("Every Day", "0 0 * * *"),
        ("every day at noon", "0 12 * * *"),
        ("every day at midday", "0 12 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("every day at 12am", "0 0 * * *"),
        ("every day at 12pm", "0 12 * * *"),
        ("every day at 12:30 am", "30 0 * * *"),
        ("every day at 13pm", "0 13 * * *"),
        ("every day at 24:00", "0 0 * * *"),
        ("every day at 9", "0 9 * * *"),
        ("every day at 9 a.m.", "0 9 * * *"),
        ("every day at five pm", "0 17 * * *"),
        ("every 15 minutes from 9am to 5pm", "*/15 9-16 * * *"),
        ("every 15 minutes between 9am and 5pm on weekdays", "*/15 9-16 * * 1-5"),
        ("every hour from 9 to 17", "0 9-17 * * *"),
        ("every hour from 10pm to 6am", "0 0-6,22,23 * * *"),
        ("every 4 hours from 8am to 8pm", "0 8-20/4 * * *"),
        ("every 10 minutes starting at minute 5", "5/10 * * * *"),
        ("every 6 hours starting at 2am", "0 2/6 * * *"),
        ("every 1st of the month at 8am", "0 8 1 * *"),
        ("every month on the 1st at 8am", "0 8 1 * *"),
        ("every month on day 1 at 3am", "0 3 1 * *"),
        ("every month on days 1,15 at 10:00", "0 10 1,15 * *"),
        ("every last of the month at 5pm", "0 17 L * *"),
        ("every 2 months on the 1st", "0 0 1 */2 *"),
        ("every 3 months", "0 0 1 */3 *"),
    ],
)
def test_words_become_the_expression_that_they_say(text: str, cron: str) -> None:
    assert (cron,) == parse(text).crons


@pytest.mark.parity("1d.10")
@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("every second", "* * * * * *"),
        ("every 30 seconds", "*/30 * * * * *"),
        ("every 60 seconds", "* * * * *"),
        ("every 30 seconds from 9 to 17 on mondays", "*/30 * 9-16 * * 1"),
        ("every day at 09:00:30", "30 0 9 * * *"),
    ],
)
def test_seconds_are_a_sixth_field_at_the_front(text: str, cron: str) -> None:
    assert (cron,) == parse(text).crons


@pytest.mark.parity("1d.19")
@pytest.mark.parametrize(
    ("text", "crons"),
    [
        ("every day at 18:15 and 20:45", ("15 18 * * *", "45 20 * * *")),
        ("every day at 00:40 and 15:20", ("40 0 * * *", "20 15 * * *")),
        ("every day at 9am, 3:30pm", ("0 9 * * *", "30 15 * * *")),
        ("every day at 00:40 and 15:40", ("40 0,15 * * *",)),
        ("every monday and friday at 9am and 17:30", ("0 9 * * 1,5", "30 17 * * 1,5")),
        ("every month on the 1st, on monday", ("0 0 1 * *", "0 0 * * 1")),
    ],
)
def test_times_that_no_single_expression_has_are_several(text: str, crons: tuple[str, ...]) -> None:
    assert crons == parse(text).crons


@pytest.mark.parity("1d.18", "1d.20", "1d.21")
@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("every 1st and 15th of the month at noon", "0 12 1,15 * *"),
        ("every 1st and 15th", "0 0 1,15 * *"),
        ("every 1st, 15th and last day of the month", "0 0 1,15,L * *"),
        ("every last day of month", "0 0 L * *"),
        ("every first monday of the month at 9am", "0 9 * * 1#1"),
        ("every second monday of the month", "0 0 * * 1#2"),
        ("every month on the 2nd and 4th friday", "0 0 * * 5#2,5#4"),
        ("every last friday of the month", "0 0 * * 5L"),
        ("every weekend at 9am", "0 9 * * 0,6"),
        ("EVERY DAY AT 9AM", "0 9 * * *"),
        ("every 30 mins", "*/30 * * * *"),
        ("every 120 minutes", "0 */2 * * *"),
        ("every 24 hours", "0 0 * * *"),
        ("every 7 days", "0 0 * * 0"),
        ("every 12 months", "0 0 1 1 *"),
        ("every five minutes", "*/5 * * * *"),
        ("daily at 9am", "0 9 * * *"),
        ("hourly", "0 * * * *"),
        ("monthly on the 3rd", "0 0 3 * *"),
        ("30 minutes", "*/30 * * * *"),
        ("every 15m", "*/15 * * * *"),
    ],
)
def test_what_is_said_truly_is_understood_where_others_refuse_it_or_drop_a_part(text: str, cron: str) -> None:
    assert (cron,) == parse(text).crons


@pytest.mark.parity("1d.16", "1d.17")
@pytest.mark.parametrize(
    ("text", "reason", "nearest"),
    [
        ("every 45 minutes", "an hour is no multiple of it", "every 30 minutes and every hour"),
        ("every 7 minutes", "an hour is no multiple of it", "every 6 minutes and every 10 minutes"),
        ("every 90 minutes", "a day is no multiple of it", "every hour and every 2 hours"),
        ("every 61 minutes", "a day is no multiple of it", "every hour and every 2 hours"),
        ("every 5 hours", "a day is no multiple of it", "every 4 hours and every 6 hours"),
        ("every 17 hours", "a day is no multiple of it", "every 12 hours and every day"),
        ("every 25 hours", "each month starts over", "every day and every week"),
        ("every 3 days", "each month starts over", "every day and every week"),
        ("every other day at 9am", "each month starts over", "every day and every week"),
        ("every 2 weeks", "each month starts over", "every week"),
        ("every 5 months", "each year starts over", "every 4 months and every 6 months"),
        ("every 40 seconds", "a minute is no multiple of it", "every 30 seconds and every minute"),
        ("1h30m", "a day is no multiple of it", "every hour and every 2 hours"),
    ],
)
def test_what_cron_cannot_say_truly_is_refused_with_the_reason_and_the_nearest(
    text: str, reason: str, nearest: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text)

    assert repr(text) in str(refused.value)
    assert reason in str(refused.value)
    assert str(refused.value).endswith(f"the nearest true ones are {nearest}")


@pytest.mark.parity("1d.20", "1d.21", "1d.22")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("every", "something is missing after 'every'"),
        ("at", "something is missing after 'at'"),
        ("every day at 9am,", "something is missing after ','"),
        ("every day at 9am and", "something is missing after 'and'"),
        ("evry day at 9am", "'evry' is not understood; did you mean 'every'?"),
        ("every dya at 9am", "'dya' is not understood; did you mean 'day'?"),
        ("every mondey at 9am", "'mondey' is not understood; did you mean 'monday'?"),
        ("every 30 minutse", "'minutse' is not understood; did you mean 'minute'?"),
        ("tomorrow at 9am", "'tomorrow' is not understood"),
        ("once a year", "'once' is not understood"),
        ("PT1H", "'pt1h' is not understood"),
        ("every 0 minutes", "the least is every minute"),
        ("every hour at 50", "50 is no time of the day; did you mean at minute 50?"),
        ("every hour at minute 60", "an hour has no minute 60"),
        ("every day at minute 5", "every day has an hour too"),
        ("every 30 minutes at minute 5", "only what happens every hour, or every few, has a minute"),
        ("every hour at 9am", "every hour is not at one time of the day"),
        ("every minute 5", "every minute is not at one time of the day"),
        ("every day at 25:00", "25:00 is no time of the day"),
        ("every day at 9:60", "9:60 is no time of the day"),
        ("every day at 13am", "13am is no time of the day"),
        ("every day every hour", "it says twice how often"),
        ("every day from 9am to 5pm", "wants to be told how often"),
        ("every hour from 9:30 to 17:00", "9:30 is no full hour"),
        ("every day starting at 9am", "write at ..."),
        ("every 10 minutes starting at minute 15", "so at 5 and not at 15"),
        ("every second monday", "every other week, which cron cannot say, or once a month"),
        ("every 6th monday of the month", "no month has a weekday 6 times"),
        ("every 32nd of the month", "there is no day 32"),
        ("every 30th of february", "there is no day 30"),
        ("every week on the 1st", "a day of the month is not in every week"),
        ("of january", "how often is missing"),
        ("every day at 9am Mars/Phobos", "'Mars/Phobos' is no time zone"),
        ("every day at 9am America/New_Yrok", "did you mean America/New_York?"),
        ("every day at 9am in +25:00", "+25:00 is no time zone"),
        ("every day at 9am ../../etc/passwd", "is not understood"),
        ("x" * 257, "256 characters at most"),
        (7, "a schedule is a text, not 7"),
        (None, "a schedule is a text, not None"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_wrong(text: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text)  # type: ignore[arg-type]

    assert said in str(refused.value)


@pytest.mark.parity("1d.23")
@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("@daily", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("0 9 * jan-mar mon-fri", "0 9 * jan-mar mon-fri"),
        ("0 9 * * 7", "0 9 * * 7"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 * * mon#1", "0 0 * * mon#1"),
        ("0 0 * * mon#-1", "0 0 * * 1L"),
        ("15/30 * * * *", "15/30 * * * *"),
        ("5-1 * * * *", "5-59,0-1 * * * *"),
        ("0 22-5 * * *", "0 22-23,0-5 * * *"),
        ("0 0 * * fri-mon", "0 0 * * 5-6,0-1"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("*/10 * * * * *", "*/10 * * * * *"),
        ("  0   9 * * *  ", "0 9 * * *"),
    ],
)
def test_a_cron_expression_is_taken_as_it_is_written(text: str, cron: str) -> None:
    assert (cron,) == parse(text).crons
    assert (cron,) == schedules.cron(text).crons


@pytest.mark.parity("1d.23")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 * * * *", "this is no minute"),
        ("0 9 * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("0 0 30 2 *", "there is no such day"),
        ("0 0 31 4,6 *", "there is no such day"),
        ("0 0 * * mon%2+1", "is no standard cron"),
        ("0 0 1-7 * &mon", "is no standard cron"),
        ("0 0 -7-L * *", "this is no day of month"),
        ("@dialy", "did you mean @daily?"),
        ("@every 5m", 'as in every: "5m"'),
        ("@reboot", "knows no start of a machine"),
        ("0 9 * * * Mars/Phobos", "'Mars/Phobos' is no time zone"),
    ],
)
def test_a_cron_expression_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        schedules.cron(text)

    assert said in str(refused.value)


@pytest.mark.parity("1d.08")
@pytest.mark.parametrize(
    "text",
    [
        "every day at 9am America/New_York",
        "every day at 9am in America/New_York",
        "every day at 9am on America/New_York",
        "0 9 * * * America/New_York",
        "@daily America/New_York",
        "1h America/New_York",
    ],
)
def test_a_zone_stands_at_the_end_with_or_without_in(text: str) -> None:
    found = parse(text)

    assert found.zoned
    assert "America/New_York" == str(found.zone)


def test_an_offset_is_a_zone_too() -> None:
    assert "UTC+09:00" == str(parse("every day at 9am +09:00").zone)
    assert "UTC-03:30" == str(parse("every day at 9am -03:30").zone)


def test_a_schedule_without_a_zone_takes_the_one_that_it_is_given_and_others_keep_theirs() -> None:
    berlin = parse("every day Europe/Berlin").zone

    assert "Europe/Berlin" == str(parse("every day").in_zone(berlin).zone)
    assert "America/New_York" == str(parse("every day America/New_York").in_zone(berlin).zone)


@pytest.mark.parity("1d.22")
@pytest.mark.parametrize(("text", "cron"), [("1h", "0 * * * *"), ("30s", "*/30 * * * * *"), ("1d", "0 0 * * *")])
def test_an_interval_goes_by_the_clock(text: str, cron: str) -> None:
    assert (cron,) == schedules.every(text).crons


@pytest.mark.parametrize("text", ["an hour", "1", "h", "every 1h", "0 * * * *", "1x"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no interval"):
        schedules.every(text)


def test_it_is_explained_in_plain_words_with_its_zone() -> None:
    assert "At 09:00 and 15:00 every day (America/New_York)" == parse("at 9am, 3pm America/New_York").explain()
    assert "At 09:00 every day; At 15:30 every day (UTC)" == parse("every day at 9am, 15:30").explain()
