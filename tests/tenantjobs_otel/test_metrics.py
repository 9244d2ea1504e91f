from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import tenantjobs_otel
from tenantjobs import Abort, Current, adapter, before_enqueue, discard_on, job, testing
from tenantjobs.errors import EnqueueError
from tenantjobs.execution import execute


def refuse() -> None:
    raise Abort("not today")


@job(name="measured.works", queue="mailers")
def works() -> None: ...


@job(name="measured.given_up", policies=[discard_on(KeyError)])
def given_up() -> None:
    raise KeyError("gone")


@job(name="measured.aborted", policies=[before_enqueue(refuse)])
def aborted() -> None: ...


reader: InMemoryMetricReader


@pytest.fixture(autouse=True)
def measured() -> Iterator[None]:
    global reader
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with testing.override(adapter="test"), Current.set(tenant_id="acme"):
        with tenantjobs_otel.install(meter_provider=provider, tenants=["acme"]):
            yield
    provider.shutdown()


def points(name: str) -> list[Any]:
    data = reader.get_metrics_data()
    if data is None:
        return []
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


def test_a_job_is_one_message_that_is_sent_and_one_that_is_consumed() -> None:
    works.perform_later()
    testing.drain()

    (sent,), (consumed,) = points("messaging.client.sent.messages"), points("messaging.client.consumed.messages")
    of_both = {
        "messaging.system": "tenantjobs",
        "messaging.destination.name": "mailers",
        "tenantjobs.job.name": "measured.works",
        "tenantjobs.tenant.id": "acme",
    }
    assert (sent.value, consumed.value) == (1, 1)
    assert dict(sent.attributes) == {
        **of_both,
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
    }
    assert dict(consumed.attributes) == {
        **of_both,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }


def test_attempts_are_measured_in_seconds_with_what_came_of_them() -> None:
    given_up.perform_later()
    testing.drain()

    (ran,), (waited,) = points("messaging.process.duration"), points("tenantjobs.queue.wait")
    assert (ran.count, waited.count) == (1, 1)
    assert 0 < ran.sum < 5
    assert ran.explicit_bounds[0] == 0.005
    assert (ran.attributes["tenantjobs.outcome"], ran.attributes["error.type"]) == ("discarded", "KeyError")


def test_a_tenant_that_is_not_named_shares_its_series_with_all_others() -> None:
    for tenant_id in ("globex", "initech"):
        with Current.switch("the test", tenant_id=tenant_id):
            works.perform_later()

    (sent,) = points("messaging.client.sent.messages")
    assert (sent.value, sent.attributes["tenantjobs.tenant.id"]) == (2, "other")


def test_what_the_queue_refuses_was_sent_with_an_error_and_what_a_hook_aborts_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aborted.perform_later()
    assert points("messaging.client.sent.messages") == []

    def down(*_: object) -> None:
        raise EnqueueError("down")

    monkeypatch.setattr(type(adapter.configured()), "enqueue", down)
    with pytest.raises(EnqueueError):
        works.perform_later()

    (sent,) = points("messaging.client.sent.messages")
    assert sent.attributes["error.type"] == "tenantjobs.errors.EnqueueError"


def test_perform_now_is_measured_as_no_message() -> None:
    works.perform_now()

    (ran,) = points("tenantjobs.perform.duration")
    assert dict(ran.attributes) == {
        "tenantjobs.job.name": "measured.works",
        "tenantjobs.tenant.id": "acme",
        "tenantjobs.outcome": "finished",
    }
    assert points("messaging.process.duration") == points("tenantjobs.queue.wait") == []


def test_a_message_that_may_not_be_run_is_counted() -> None:
    execute(b"no envelope")

    (quarantined,) = points("tenantjobs.quarantined")
    assert quarantined.value == 1
