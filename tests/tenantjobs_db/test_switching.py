from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tenantjobs_db.switching import QUICK, Switching


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    interval = sys.getswitchinterval()
    yield interval
    sys.setswitchinterval(interval)


def test_threads_change_quickly_while_it_is_said_so(usual: float) -> None:
    switching = Switching(allowed=True)
    switching.be_quick(True)
    assert sys.getswitchinterval() == pytest.approx(QUICK)

    switching.be_quick(False)
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_a_process_that_does_other_work_is_left_as_it_is(usual: float) -> None:
    Switching(allowed=False).be_quick(True)

    assert sys.getswitchinterval() == pytest.approx(usual)


def test_one_that_changes_threads_more_often_by_itself_goes_on_doing_so() -> None:
    sys.setswitchinterval(QUICK / 10)
    Switching(allowed=True).be_quick(True)

    assert sys.getswitchinterval() == pytest.approx(QUICK / 10, abs=2e-6)  # it counts microseconds
