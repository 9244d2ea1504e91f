from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenantjobs import Job, job, later, retry_on
from tenantjobs.definition import declared
from tenantjobs.errors import ConfigurationError

ALONE: Any = retry_on(ConnectionError)


def on_a_function() -> None:
    @job(policies=ALONE)
    def send() -> None: ...


def on_a_method() -> None:
    class Letter:
        @later(policies=ALONE)
        def send(self) -> None: ...


def on_a_class() -> None:
    class Send(Job):
        policies = ALONE

        def perform(self) -> None: ...


def on_a_mixin() -> None:
    class Sending:
        policies = ALONE

    declared(Sending)


@pytest.mark.parametrize("declare", [on_a_function, on_a_method, on_a_class, on_a_mixin])
def test_a_policy_without_a_list_is_refused_with_the_list_to_write(declare: Callable[[], None]) -> None:
    with pytest.raises(ConfigurationError, match=r"[Ss]end.*write policies=\[retry_on\(\.\.\.\)\]"):
        declare()


@pytest.mark.parametrize("given", [retry_on, "retry_on", 3, None])
def test_what_is_no_list_at_all_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="a list of policies is wanted"):

        @job(policies=given)
        def send() -> None: ...


def test_any_iterable_of_policies_will_do() -> None:
    @job(name="tests.policies.iterable", policies=(each for each in [ALONE]))
    def send() -> None: ...

    assert send.__definition__.policies(retry_on) == (ALONE,)
