from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tenantjobs_db import collecting
from tenantjobs_db.collecting import SELDOM


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_process_of_its_own_looks_for_cycles_less_often_while_it_works(usual: tuple[int, int, int]) -> None:
    with collecting.seldom(allowed=True):
        assert gc.get_threshold()[0] == SELDOM
        assert gc.get_freeze_count() > 0

    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0


def test_a_process_that_does_other_work_is_left_as_it_is(usual: tuple[int, int, int]) -> None:
    with collecting.seldom(allowed=False):
        assert gc.get_threshold() == usual
        assert gc.get_freeze_count() == 0


def test_one_that_was_told_how_often_to_look_goes_on_so() -> None:
    gc.set_threshold(50_000, 5, 5)
    with collecting.seldom(allowed=True):
        assert gc.get_threshold() == (50_000, 5, 5)
        assert gc.get_freeze_count() == 0


def test_what_the_application_has_frozen_stays_so() -> None:
    gc.freeze()
    with collecting.seldom(allowed=True):
        pass

    assert gc.get_freeze_count() > 0
