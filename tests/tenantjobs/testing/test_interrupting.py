from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenantjobs import Current, Job, job, step, testing

pytestmark = pytest.mark.usefixtures("tenantjobs_test")

done: list[object] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    done.clear()
    with Current.set(tenant_id="acme"):
        yield


class Import(Job):
    def perform(self) -> None:
        done.append("outside")
        for cursor in step("rows", start=0):
            for number in range(cursor.value, 4):
                done.append(number)
                cursor.set(number + 1)
        for _ in step("summary"):
            done.append("summary")


@job(name="interrupting.other")
def other() -> None:
    for cursor in step("rows", start=0):
        cursor.set(2)


@pytest.mark.parity("1a.37")
def test_a_job_is_interrupted_where_its_cursor_is_and_goes_on_from_there() -> None:
    Import.perform_later()
    with testing.interrupt_job_during_step(Import, "rows", cursor=2):
        assert testing.perform_enqueued_jobs() == 1
        testing.assert_enqueued_jobs(1, only=Import)
        testing.drain()

    assert done == ["outside", 0, 1, "outside", 2, 3, "summary"]


def test_without_a_cursor_it_is_the_first_checkpoint_inside() -> None:
    Import.perform_later()
    with testing.interrupt_job_during_step(Import, "rows"):
        testing.perform_enqueued_jobs()

    assert done == ["outside", 0]


@pytest.mark.parity("1a.37")
def test_a_job_is_interrupted_between_two_steps() -> None:
    Import.perform_later()
    with testing.interrupt_job_after_step(Import, "rows"):
        testing.perform_enqueued_jobs()

    assert done == ["outside", 0, 1, 2, 3]
    testing.drain()
    assert done[5:] == ["outside", "summary"]


def test_other_jobs_are_not_interrupted() -> None:
    other.perform_later()
    Import.perform_later()
    with testing.interrupt_job_during_step(Import, "rows", cursor=2):
        testing.perform_enqueued_jobs()

    assert [attempt.outcome for attempt in testing.performed_jobs()] == ["finished", "retried"]


@pytest.mark.parametrize(
    ("helper", "said"),
    [
        (lambda: testing.interrupt_job_during_step(Import, "rows", cursor=9), "step 'rows', with the cursor at 9"),
        (lambda: testing.interrupt_job_after_step(Import, "summary"), "after its step 'summary'"),
    ],
)
def test_a_test_in_which_nothing_was_interrupted_fails(helper: object, said: str) -> None:
    Import.perform_later()

    with pytest.raises(AssertionError, match=f"Import came to no checkpoint .*{said}"), helper():  # type: ignore[operator]
        testing.drain()
