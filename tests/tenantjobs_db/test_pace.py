from __future__ import annotations

import time

import pytest

from tenantjobs_db import pace
from tenantjobs_db.pace import MOST, Pace


def test_nothing_is_claimed_ahead_as_long_as_nobody_knows_how_long_jobs_take() -> None:
    assert Pace(5).ahead == 0


def test_jobs_are_taken_for_short_until_one_has_ended() -> None:
    five = Pace(5)
    assert five.is_short

    five.learn([0.1])
    assert not five.is_short


def test_after_it_went_wrong_jobs_of_which_none_has_ended_may_be_long() -> None:
    five = Pace(5)
    five.forget()
    assert not five.is_short


@pytest.mark.parametrize(
    ("seconds", "ahead"),
    [(0.0001, MOST), (0.009, 27), (0.04, 6), (0.2, 1), (1.0, 0), (0.0, MOST)],
)
def test_as_many_jobs_may_be_ahead_as_start_within_a_moment(seconds: float, ahead: int) -> None:
    five = Pace(5)
    five.learn([seconds] * 40)
    assert five.ahead == ahead


def test_one_long_job_among_short_ones_is_taken_for_what_may_come() -> None:
    five = Pace(5)
    five.learn([0.001] * 99)
    five.learn([0.001] * 19 + [20.0])
    assert five.ahead == 0


def test_after_it_went_wrong_nothing_is_claimed_ahead_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    five = Pace(5)
    five.learn([0.0001] * 40)
    five.forget()
    five.learn([0.0001] * 40)
    assert five.ahead == 0

    now = time.monotonic()
    monkeypatch.setattr(pace.time, "monotonic", lambda: now + pace.RELUCTANCE + 1)
    assert five.ahead == MOST
