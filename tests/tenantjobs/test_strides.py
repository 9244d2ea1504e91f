from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tenantjobs import priorities, strides, testing
from tenantjobs.envelope import Envelope
from tenantjobs.testing import enqueued_jobs


def due_in(delay: timedelta | None) -> Envelope:
    now = datetime.now(UTC)
    return Envelope(
        id="1",
        name="a.job",
        queue="default",
        context=msgspec.Raw(b"{}"),
        arguments=msgspec.Raw(b"[[],{}]"),
        enqueued_at=now,
        due_at=None if delay is None else now + delay,
    )


@pytest.mark.parametrize("delay", [None, timedelta(seconds=-1), timedelta()])
def test_a_job_that_is_due_is_not_kept(delay: timedelta | None) -> None:
    assert strides.stride(due_in(delay)) is None


def test_a_short_delay_is_one_stride() -> None:
    stride = strides.stride(due_in(timedelta(minutes=1)))

    assert stride is not None
    assert timedelta(seconds=59) < stride <= timedelta(minutes=1)


def test_a_long_delay_is_walked_in_strides_that_brokers_bear() -> None:
    assert strides.stride(due_in(timedelta(days=30))) == strides.LONGEST


def test_after_a_stride_a_job_goes_on_in_the_queue_that_jobs_are_enqueued_to() -> None:
    """In a swap that is another one, so that the old queue is empty once a stride has passed."""
    envelope = due_in(timedelta(hours=3))
    with testing.override(adapter="test"):
        strides.perform(envelope.encode().decode(), stopping=lambda: False)

        assert [(job.id, job.due_at) for job in enqueued_jobs()] == [("1", envelope.due_at)]


def test_classes_of_priority_never_turn_the_order_round() -> None:
    places = [priorities.place(priority) for priority in range(-100, 100)]

    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, priorities.LAST)
    assert len({priorities.place(priority) for priority in (-1, 0, 1, 2, 3)}) == 5
