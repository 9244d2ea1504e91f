from __future__ import annotations

from typing import Any

import pytest

from tenantjobs import Current, discard_on, job, perform_all_later, retry_on
from tenantjobs.errors import JobGone, PartlyEnqueued

pytestmark = pytest.mark.usefixtures("inline", "acme")


def test_a_job_is_performed_at_the_call_with_its_tenant() -> None:
    seen: list[Any] = []

    @job
    def note(value: tuple[int, ...]) -> None:
        seen.append((Current.tenant_id, value))

    handle = note.perform_later((1, 2))

    assert handle.enqueued is True
    assert seen == [("acme", (1, 2))]


@pytest.mark.parity("1a.35")
def test_arguments_go_through_the_same_dump_and_load_as_on_any_queue() -> None:
    seen: list[Any] = []
    values = [1]

    @job
    def note(given: list[int]) -> None:
        given.append(2)
        seen.append(given)

    note.perform_later(values)

    assert (values, seen) == ([1], [[1, 2]])


def test_retries_follow_at_once_and_the_last_error_reaches_the_caller() -> None:
    attempts: list[int] = []

    @job(policies=[retry_on(ValueError, wait=3600, attempts=3)])
    def fails() -> None:
        attempts.append(1)
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fails.perform_later()

    assert len(attempts) == 3


def test_a_discarded_job_raises_nothing() -> None:
    @job(policies=[discard_on(ValueError)])
    def fails() -> None:
        raise ValueError

    assert [handle.enqueued for handle in perform_all_later([fails.call(), fails.call()])] == [True, True]


def test_a_job_that_fails_keeps_no_other_from_its_turn() -> None:
    seen: list[int] = []

    @job
    def note(number: int) -> None:
        seen.append(number)
        if number > 1:
            raise ValueError(number)

    with pytest.raises(PartlyEnqueued, match="2 of 3 jobs") as failed:
        perform_all_later([note.call(2), note.call(3), note.call(1)])

    assert seen == [2, 3, 1]
    assert [repr(handle.enqueue_error) for handle in failed.value.handles] == ["ValueError(2)", "ValueError(3)", "None"]
    assert isinstance(failed.value.__cause__, ValueError)


def test_a_job_that_exits_does_not_take_its_caller_along() -> None:
    @job
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match=r"ended by SystemExit\(3\)") as failed:
        leave.perform_later()

    assert isinstance(failed.value.__cause__, SystemExit)


def test_what_the_last_jobs_returned_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantjobs.inline.RESULTS", 2)

    @job(keep_result=True)
    def double(number: int) -> int:
        return 2 * number

    handles = [double.perform_later(number) for number in range(3)]

    assert [handle.result() for handle in handles[1:]] == [2, 4]
    with pytest.raises(JobGone):
        handles[0].result()
