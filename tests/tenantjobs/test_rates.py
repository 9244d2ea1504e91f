"""Jobs with a rate where a broker delivers them: one that comes too soon comes again when it may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import Current, adapter, definition, job, limits_rate, testing
from tenantjobs.errors import ConfigurationError, LimitReached, UnsupportedCapability
from tenantjobs.execution import execute
from tenantjobs.outcome import Finished, Retried

performed: list[int] = []


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    before = dict(definition.registry)
    performed.clear()
    with testing.override(adapter="test", tenancy="optional"), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


def call_of(**options: Any) -> Any:
    @job(name="call.out", policies=[limits_rate(**{"to": 2, "per": timedelta(minutes=1)} | options)])
    def call_out(number: int) -> None:
        performed.append(number)

    return call_out


def outcome() -> Any:
    data: bytes = adapter.configured()._waiting.pop(0)  # type: ignore[attr-defined]  # the memory adapter's own list
    return execute(data)


def test_one_that_comes_too_soon_comes_again_at_its_moment_uncharged() -> None:
    call_out = call_of()
    for number in range(3):
        call_out.perform_later(number)

    first, second, third = outcome(), outcome(), outcome()

    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert isinstance(third, Retried)
    assert third.envelope.attempt == 0
    assert "waits for the rate" in (third.note or "")
    assert performed == [0, 1]


def test_each_tenant_has_a_rate_of_its_own_unless_it_is_said() -> None:
    call_out = call_of(to=1)
    call_out.perform_later(1)
    with Current.switch("another", tenant_id="globex"):
        call_out.perform_later(2)

    assert [type(outcome()), type(outcome())] == [Finished, Finished]

    over_all = call_of(to=1, per_tenant=False, group="all")
    over_all.perform_later(1)
    with Current.switch("another", tenant_id="globex"):
        over_all.perform_later(2)

    assert [type(outcome()), type(outcome())] == [Finished, Retried]


def test_perform_now_is_one_of_those_that_start() -> None:
    call_out = call_of(to=1)
    call_out.perform_now(1)

    with pytest.raises(LimitReached, match="1 with the key"):
        call_out.perform_now(2)


def test_a_queue_that_cannot_count_starts_refuses_the_job_at_the_call() -> None:
    call_out = call_of()

    with testing.override(adapter="inline"), pytest.raises(UnsupportedCapability, match="nothing to count starts in"):
        call_out.perform_later(1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": 0}, "whole number from 1"),
        ({"to": 100_000}, "by a shorter per="),
        ({"to": True}, "whole number from 1"),
        ({"per": 0}, "seconds above 0"),
        ({"per": "1m"}, "seconds above 0"),
        ({"burst": 3}, "from 1 to to=2"),
        ({"key": "account"}, "a callable"),
        ({"group": ""}, "a text that is not empty"),
        ({"per_tenant": 1}, "True or False"),
    ],
)
def test_what_is_no_rate_is_refused_where_it_is_declared(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        call_of(**options)
