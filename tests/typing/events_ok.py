"""Listeners and their events, as both checkers see them. Checked, never run."""

from __future__ import annotations

from typing import assert_type

import tenantjobs
from tenantjobs import JobContext, subscribe
from tenantjobs.instrumentation import Enqueued, Event, Performed, Started, Subscription


def to_all(event: Event) -> None: ...


def to_one(event: Performed) -> None:
    assert_type(event.job, JobContext)
    assert_type(event.run, float)


def to_two(event: Enqueued | Performed) -> None:
    assert_type(event.job, JobContext)


assert_type(subscribe(to_all), Subscription)
assert_type(subscribe(to_all, Performed), Subscription)
assert_type(subscribe(to_one, Performed), Subscription)
assert_type(subscribe(to_two, Enqueued, Performed), Subscription)

assert_type(subscribe(to_all, Started, Enqueued, Performed), Subscription)

with tenantjobs.subscribe(to_all) as subscription:
    subscription.unsubscribe()
