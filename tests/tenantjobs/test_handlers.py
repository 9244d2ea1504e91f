from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tenantjobs.errors import ConfigurationError, EnvelopeError
from tenantjobs.handlers import discard_on, nearest, retry_on
from tenantjobs.hooks import guard
from tenantjobs.policies import attach, own


class Base(Exception):
    pass


class Middle(Base):
    pass


class Leaf(Middle):
    pass


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (2, [2, 2, 2]),
        (timedelta(minutes=1), [60, 60, 60]),
        ("polynomially_longer", [3, 18, 83, 258]),
        ("exponentially_longer", [3, 6, 12, 24]),
        ([1, timedelta(seconds=5)], [1, 5, 5, 5]),
        (lambda executions: executions * 10, [10, 20, 30]),
        (lambda executions, error: len(str(error)) + executions, [5, 6, 7]),
        (lambda executions, error=None: executions, [1, 2, 3]),
        (lambda executions: None, [0, 0]),
        (0, [0, 0]),
    ],
)
@pytest.mark.parity("1a.04", "1a.05", "1a.06")
def test_each_kind_of_wait_gives_its_documented_seconds(wait: Any, expected: list[float]) -> None:
    policy = retry_on(Base, wait=wait, jitter=0)

    assert expected == [policy.delay(executions, Base("boom")) for executions in range(1, len(expected) + 1)]


@pytest.mark.parity("1a.04", "1a.07")
def test_jitter_adds_at_most_its_share_to_a_constant() -> None:
    policy = retry_on(Base, wait=100)

    waits = [policy.delay(1, Base()) for _ in range(200)]

    assert all(100 <= wait < 115 for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize(("random", "added"), [(b"\x00" * 4, 0.0), (b"\x80\x00\x00\x00", 7.5), (b"\xff" * 4, 15.0)])
@pytest.mark.parity("1a.04", "1a.07")
def test_what_is_added_is_between_nothing_and_the_share(
    monkeypatch: pytest.MonkeyPatch, random: bytes, added: float
) -> None:
    monkeypatch.setattr("tenantjobs.waits.os.urandom", lambda count: random[:count])

    assert retry_on(Base, wait=100).delay(1, Base()) == pytest.approx(100 + added)


@pytest.mark.parametrize("jitter", [-0.1, 1.1, 2, True, "0.1", None])
@pytest.mark.parity("1a.07")
def test_a_jitter_that_is_no_share_is_refused(jitter: Any) -> None:
    with pytest.raises(ConfigurationError, match="jitter="):
        retry_on(Base, jitter=jitter)

    assert retry_on(Base, jitter=1).delay(1, Base()) >= 3


@pytest.mark.parity("1a.05", "1a.07")
def test_jitter_never_applies_to_the_two_seconds_of_a_polynomial() -> None:
    policy = retry_on(Base, wait="polynomially_longer", jitter=1.0)

    assert all(3 <= policy.delay(1, Base()) < 4 for _ in range(100))


@pytest.mark.parametrize(
    "wait", ["linearly", [], True, None, object(), [1, "x"], -1, float("nan"), float("inf"), lambda: 1]
)
@pytest.mark.parity("1a.01")
def test_a_wait_of_no_known_kind_is_refused_when_it_is_declared(wait: Any) -> None:
    with pytest.raises(ConfigurationError, match="wait="):
        retry_on(Base, wait=wait)


@pytest.mark.parametrize(
    "options", [{"queue": ""}, {"queue": 3}, {"priority": "high"}, {"priority": True}, {"priority": 2**31}]
)
@pytest.mark.parity("1a.01")
def test_a_queue_or_a_priority_of_retries_that_no_queue_could_store_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        retry_on(Base, **options)


@pytest.mark.parity("1a.01")
def test_a_callable_wait_takes_executions_and_maybe_the_error_and_is_no_coroutine() -> None:
    async def later(executions: int) -> int:
        return 1

    for wrong in (lambda a, b, c: 1, lambda a, b, c, d=1: 1, later):
        with pytest.raises(ConfigurationError, match="wait="):
            retry_on(Base, wait=wrong)

    assert retry_on(Base, wait=lambda executions, error, more=1: 7).delay(1, Base()) == 7


@pytest.mark.parametrize("attempts", [0, -1, True, "forever", 2.5])
@pytest.mark.parity("1a.02")
def test_attempts_below_one_are_refused_when_they_are_declared(attempts: Any) -> None:
    with pytest.raises(ConfigurationError, match="attempts="):
        retry_on(Base, attempts=attempts)

    assert retry_on(Base, attempts=1).exhausted(1)


@pytest.mark.parity("1a.02")
def test_attempts_count_the_first_run() -> None:
    policy = retry_on(Base, attempts=3)

    assert [policy.exhausted(executions) for executions in (1, 2, 3)] == [False, False, True]


@pytest.mark.parity("1a.02")
def test_unlimited_attempts_never_run_out() -> None:
    assert not retry_on(Base, attempts="unlimited").exhausted(10_000)


@pytest.mark.parity("1a.12")
def test_the_class_nearest_in_the_mro_of_the_error_wins_whatever_the_order() -> None:
    far, near = retry_on(Base), discard_on(Middle)

    assert near is nearest([(far, near)], Leaf())
    assert near is nearest([(near, far)], Leaf())


@pytest.mark.parity("1a.12")
def test_a_subclass_wins_over_its_base_at_the_same_distance() -> None:
    of_the_base, of_the_subclass = retry_on(Middle), discard_on(Middle)

    assert of_the_subclass is nearest([(of_the_subclass,), (of_the_base,)], Middle())


@pytest.mark.parity("1a.12")
def test_a_nearer_class_of_the_base_wins_over_a_farther_one_of_the_subclass() -> None:
    of_the_base, of_the_subclass = discard_on(Leaf), retry_on(Base)

    assert of_the_base is nearest([(of_the_subclass,), (of_the_base,)], Leaf())


@pytest.mark.parity("1a.12")
def test_a_predicate_wins_over_a_class() -> None:
    by_class, by_predicate = discard_on(Base), retry_on(lambda error: "busy" in str(error))

    assert by_predicate is nearest([(by_class, by_predicate)], Base("busy"))
    assert by_class is nearest([(by_class, by_predicate)], Base("gone"))


@pytest.mark.parity("1a.12")
def test_causes_are_tried_when_the_error_itself_is_not_declared() -> None:
    policy = discard_on(Leaf)
    error = ValueError("outer")
    error.__cause__ = Leaf()
    error.__cause__.__cause__ = error

    assert policy is nearest([(policy,)], error)


@pytest.mark.parity("1a.12")
def test_causes_that_go_round_in_a_circle_end_where_nobody_answers() -> None:
    error, cause = ValueError("outer"), KeyError("inner")
    error.__cause__, cause.__cause__ = cause, error

    assert nearest([(discard_on(Leaf),)], error) is None


def test_an_error_that_nobody_declared_has_no_handler() -> None:
    assert nearest([(discard_on(Leaf),)], Middle()) is None


def test_the_same_class_twice_on_one_job_is_refused() -> None:
    def target() -> None: ...

    with pytest.raises(ConfigurationError, match=r"target declares .*Base twice"):
        attach(target, [retry_on(Base, Leaf), discard_on(Base)])


def test_what_is_no_policy_is_refused() -> None:
    def target() -> None: ...

    with pytest.raises(ConfigurationError, match="not a policy"):
        attach(target, [Base])  # type: ignore[list-item]  # the mistake under test


def test_a_policy_keeps_what_it_decorates() -> None:
    policy = guard(lambda: True)

    @policy
    def target() -> int:
        return 1

    assert target() == 1
    assert own(target) == (policy,)


@pytest.mark.parametrize("arguments", [(), ("text",), (int,), (EnvelopeError,)])
@pytest.mark.parity("1a.01")
def test_what_is_no_error_cannot_be_declared(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError):
        retry_on(*arguments)


@pytest.mark.parity("1a.03")
def test_the_key_of_a_declaration_does_not_depend_on_the_order_of_its_classes() -> None:
    assert retry_on(Base, Leaf).key == retry_on(Leaf, Base).key
    assert retry_on(Base).key != retry_on(Leaf).key
    assert retry_on(Base, key="mine").key == "mine"


@pytest.mark.parity("1a.03")
def test_two_declarations_that_would_share_a_counter_are_refused() -> None:
    def target() -> None: ...

    with pytest.raises(ConfigurationError, match="give one of them key="):
        attach(target, [retry_on(lambda error: False), retry_on(lambda error: True)])


@pytest.mark.parametrize("then", [5, "log", lambda: None])
@pytest.mark.parity("1a.01")
def test_a_handler_that_could_not_be_called_is_refused_when_declared(then: Any) -> None:
    with pytest.raises(ConfigurationError, match="then="):
        discard_on(Base, then=then)


@pytest.mark.parity("1a.04")
def test_a_wait_without_end_stays_a_moment_that_can_be_stored() -> None:
    assert retry_on(Base, wait="exponentially_longer").delay(10_000, Base()) < 11 * 365 * 86_400
