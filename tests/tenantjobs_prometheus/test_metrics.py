from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import tenantjobs_prometheus
from tenantjobs import Abort, Current, adapter, before_enqueue, discard_on, job, retry_on, testing
from tenantjobs.errors import EnqueueError
from tenantjobs.execution import execute
from tests.tenantjobs.enqueued import enqueued


def refuse() -> None:
    raise Abort("not today")


@job(name="metrics.works", queue="mailers")
def works() -> None: ...


@job(name="metrics.works_async", queue="mailers")
async def works_async() -> None: ...


@job(name="metrics.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
def flaky() -> None:
    raise ConnectionError("down")


@job(name="metrics.given_up", policies=[discard_on(KeyError)])
def given_up() -> None:
    raise KeyError("gone")


@job(name="metrics.aborted", policies=[before_enqueue(refuse)])
def aborted() -> None: ...


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    with testing.override(adapter="test"), tenantjobs_prometheus.install(registry, tenants=["acme", 42]):
        yield registry


def series(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """The samples called ``name`` by their label values, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_jobs_are_counted_by_job_queue_and_tenant(registry: CollectorRegistry) -> None:
    with Current.set(tenant_id="acme"):
        works.perform_later()
        works.perform_later()
    with Current.set(tenant_id=42):
        works_async.perform_later()
    testing.drain()

    enqueued = {("metrics.works", "mailers", "acme"): 2, ("metrics.works_async", "mailers", "42"): 1}
    assert series(registry, "tenantjobs_enqueued_total") == enqueued
    assert series(registry, "tenantjobs_wait_seconds_count") == enqueued
    assert series(registry, "tenantjobs_performed_total") == {
        ("metrics.works", "finished", "mailers", "acme"): 2,
        ("metrics.works_async", "finished", "mailers", "42"): 1,
    }


def test_a_retried_or_discarded_attempt_is_no_success(registry: CollectorRegistry) -> None:
    with Current.set(tenant_id="acme"):
        flaky.perform_later()
        given_up.perform_later()
    with suppress(ConnectionError):
        testing.drain()
    expected = {
        ("metrics.flaky", "retried", "default", "acme"): 2,
        ("metrics.flaky", "failed", "default", "acme"): 1,
        ("metrics.given_up", "discarded", "default", "acme"): 1,
    }

    assert series(registry, "tenantjobs_performed_total") == expected
    assert series(registry, "tenantjobs_run_seconds_count") == expected


def test_perform_now_ran_and_has_not_waited(registry: CollectorRegistry) -> None:
    with Current.set(tenant_id="acme"):
        works.perform_now()

    assert series(registry, "tenantjobs_performed_total") == {("metrics.works", "finished", "mailers", "acme"): 1}
    assert series(registry, "tenantjobs_wait_seconds_count") == {}


def test_a_thousand_tenants_are_one_series(registry: CollectorRegistry) -> None:
    for number in range(1_000, 2_000):
        with Current.set(tenant_id=number):
            works.perform_later()
    with Current.system("nightly"):
        works.perform_later()

    assert series(registry, "tenantjobs_enqueued_total") == {("metrics.works", "mailers", "other"): 1_001}


def test_what_was_not_enqueued_is_counted_by_its_reason(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise EnqueueError("down")

    with Current.set(tenant_id="acme"):
        aborted.perform_later()
        monkeypatch.setattr(type(adapter.configured()), "enqueue", down)
        with pytest.raises(EnqueueError):
            works.perform_later()

    assert series(registry, "tenantjobs_not_enqueued_total") == {
        ("metrics.aborted", "default", "aborted", "acme"): 1,
        ("metrics.works", "mailers", "refused", "acme"): 1,
    }


def test_a_message_in_quarantine_adds_no_label(registry: CollectorRegistry) -> None:
    with Current.set(tenant_id="acme"):
        data = enqueued(works.perform_later)
    execute(data.replace(b"metrics.works", b"metrics.unknown"))

    assert series(registry, "tenantjobs_quarantined_total") == {(): 1}
    assert b"metrics.unknown" not in generate_latest(registry)


def test_a_second_installation_in_one_registry_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        tenantjobs_prometheus.install(registry)


def test_a_tenant_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        tenantjobs_prometheus.install(CollectorRegistry(), tenants=[""])
