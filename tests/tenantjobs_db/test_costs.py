from __future__ import annotations

import pytest

from tenantjobs_db.costs import REMEMBERED_FOR, Costs
from tenantjobs_db.settlement import Claimed, Finish, GiveBack


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def costs(clock: Clock) -> Costs:
    return Costs(clock)


def _claim(tenant: str, queue: str = "default") -> Claimed:
    return Claimed("1", 1, "me", queue, "work", tenant, 0, "")


def _ended(costs: Costs, seconds: dict[str, float], queue: str = "default") -> None:
    costs.learn([Finish(_claim(tenant, queue)) for tenant in seconds], list(seconds.values()))


def test_jobs_that_take_ten_times_as_long_are_ten_times_as_dear(costs: Costs) -> None:
    for _ in range(60):
        _ended(costs, {"acme": 0.1, "globex": 0.01})

    assert costs.differ("default")
    assert costs.price("default", "acme") == pytest.approx(10, rel=0.02)
    assert costs.price("default", "globex") == 1


def test_the_first_long_job_of_a_tenant_makes_it_dear(costs: Costs) -> None:
    _ended(costs, {"acme": 1.0, "globex": 0.01})

    assert costs.differ("default")


def test_a_short_job_that_was_held_up_for_a_moment_is_short(costs: Costs) -> None:
    _ended(costs, {"acme": 0.05, "globex": 0.0001})

    assert not costs.differ("default")


def test_a_tenant_that_nobody_knows_is_not_made_to_wait(costs: Costs) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.01})

    assert costs.price("default", "initech") == 1


def test_jobs_that_take_less_than_twice_as_long_are_alike(costs: Costs) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.06})

    assert not costs.differ("default")
    assert costs.price("default", "acme") == 1


def test_who_is_not_much_dearer_than_the_cheapest_pays_as_much_while_others_are(costs: Costs) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.01, "initech": 0.019})

    assert costs.price("default", "initech") == 1


def test_short_jobs_are_alike_whatever_they_take(costs: Costs) -> None:
    _ended(costs, {"acme": 0.004, "globex": 0.0001})
    _ended(costs, {"acme": 0.1})
    _ended(costs, {"acme": 0.004, "globex": 0.0001}, queue="other")

    assert not costs.differ("other")


def test_queues_are_weighed_by_themselves(costs: Costs) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.01})
    _ended(costs, {"acme": 0.1, "globex": 0.1}, queue="reports")

    assert costs.differ("default")
    assert not costs.differ("reports")


def test_what_is_learned_follows_the_jobs_of_now(costs: Costs) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.01})
    for _ in range(30):
        _ended(costs, {"acme": 0.01})

    assert not costs.differ("default")


def test_a_job_that_was_given_back_teaches_nothing(costs: Costs) -> None:
    costs.learn([GiveBack(_claim("acme")), Finish(_claim("globex"))], [9.0, 0.1])

    assert not costs.differ("default")


def test_who_has_not_been_seen_for_a_while_is_forgotten(costs: Costs, clock: Clock) -> None:
    _ended(costs, {"acme": 0.1, "globex": 0.01})
    clock.now += REMEMBERED_FOR
    _ended(costs, {"globex": 0.01})

    assert not costs.differ("default")
