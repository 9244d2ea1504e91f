from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs_db.costs import Costs
from tenantjobs_db.settlement import Claimed, Finish
from tenantjobs_db.turns import Candidate, Turns

ROOM = 1000


def _costs(seconds: Mapping[str, float]) -> Costs:
    costs = Costs(itertools.count().__next__)
    ended = [Finish(Claimed("1", 1, "me", "default", "work", tenant, 0, "")) for tenant in seconds]
    for _ in range(200):
        costs.learn(ended, list(seconds.values()))
    return costs


def _in_order(turns: Turns, tenants: Sequence[str], weights: Mapping[str, float] | None = None) -> list[Candidate]:
    cursor = turns.cursor("default")
    ordered = sorted(tenants, key=lambda tenant: (tenant <= cursor, tenant))
    return [Candidate(tenant, (weights or {}).get(tenant, 1.0), ROOM) for tenant in ordered]


def _deal(turns: Turns, tenants: Sequence[str], jobs: int, at_once: int = 1, **weights: float) -> Counter[str]:
    """What each has had once ``jobs`` were dealt out, by claims of ``at_once``."""
    had: Counter[str] = Counter()
    for _ in range(jobs // at_once):
        had.update(turns.shares("default", _in_order(turns, tenants, weights), at_once, all_round=True))
    return had


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_a_turn_is_a_job_where_costs_are_alike(at_once: int) -> None:
    had = _deal(Turns(), "abc", 1050, at_once)

    assert {"a": 350, "b": 350, "c": 350} == had


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.lists(st.sampled_from([1.0, 1.0, 1.0, 0.5, 2.0]), min_size=6, max_size=6),
    st.integers(1, 100),
)
def test_many_jobs_are_dealt_out_as_if_one_after_the_other(rooms: list[int], weights: list[float], wanted: int) -> None:
    at_once, one_by_one = Turns(), Turns()
    for turns, steps in ((at_once, [wanted]), (one_by_one, [1] * wanted)):
        had: Counter[str] = Counter()
        for step in steps:
            cursor = turns.cursor("default")
            found = [
                Candidate(tenant, weight, room - had[tenant])
                for tenant, weight, room in zip("abcdef", weights, rooms, strict=False)
            ]
            found.sort(key=lambda each: (each.tenant <= cursor, each.tenant))
            had.update(turns.shares("default", found, step, all_round=True))
        if turns is at_once:
            expected = had
    assert had == expected
    assert at_once.cursor("default") == one_by_one.cursor("default")


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_tenants_have_the_same_time_where_costs_differ(at_once: int) -> None:
    had = _deal(Turns(_costs({"a": 0.1, "b": 0.01, "c": 0.01})), "abc", 2100, at_once)

    assert had["a"] == pytest.approx(100, abs=2)
    assert had["b"] == pytest.approx(1000, abs=10)


def test_weights_share_out_the_time() -> None:
    had = _deal(Turns(_costs({"a": 0.1, "b": 0.01})), "ab", 1200, 3, a=2.0)

    assert had["a"] == pytest.approx(200, abs=3)


def test_a_dear_job_is_taken_on_credit() -> None:
    turns = Turns(_costs({"a": 10.0, "b": 0.01}))

    assert {"a": 1} == _deal(turns, "ab", 1)
    assert {"b": 500} == _deal(turns, "ab", 500)


def test_whoever_is_alone_waits_for_nobody() -> None:
    turns = Turns(_costs({"a": 10.0, "b": 0.01}))
    _deal(turns, "ab", 10)

    assert {"a": 5} == _deal(turns, "a", 5)


def test_a_debt_passes_while_its_tenant_is_away() -> None:
    turns = Turns(_costs({"a": 0.1, "b": 0.01}))
    _deal(turns, "ab", 2)
    _deal(turns, "b", 20)

    assert _deal(turns, "ab", 2) == {"a": 1, "b": 1}


def test_a_tenant_saves_nothing_while_it_is_away() -> None:
    turns = Turns()
    _deal(turns, "ab", 2)
    _deal(turns, "b", 100)

    assert _deal(turns, "ab", 10) == {"a": 5, "b": 5}


def test_jobs_that_were_not_there_are_not_charged() -> None:
    turns = Turns(_costs({"a": 0.1, "b": 0.01}))
    turns.shares("default", [Candidate("a", 1.0, ROOM)], 10, all_round=True)
    turns.fell_short("default", "a", 10)

    assert {"a": 1, "b": 1} == _deal(turns, "ab", 2)
