from __future__ import annotations

import logging
from typing import Any

import pytest

from tenantjobs import carriage, runtime, sentinel
from tenantjobs.carriage import Delivery, Unreadable
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import TenantGone, TenantMissing

ACME: dict[str, Any] = {"v": 1, "tenant_id": "acme"}


@pytest.mark.parametrize(
    "snapshot", [Snapshot(tenant_id="acme"), Snapshot(system="nightly"), Snapshot(tenant_id="7", attributes={"a": [1]})]
)
def test_a_scope_is_read_as_it_was_written(snapshot: Snapshot) -> None:
    assert carriage.read(carriage.write(snapshot)) == snapshot


def test_an_empty_scope_adds_nothing() -> None:
    assert carriage.write(Snapshot()) is None
    assert not carriage.read(None)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("acme", "it is 'acme', not an object"),
        ({"tenant_id": "acme"}, "of version None"),
        ({"v": 99, "tenant_id": "acme"}, "of version 99, and this worker knows 1"),
        ({"v": 1, "tenant_id": 7}, "Expected `str | null`"),
        ({"v": 1, "tenant": "acme"}, "unknown field"),
        ({"v": 1, "tenant_id": " "}, "tenant"),
        (carriage.refusal(TypeError("no way")), "could not be written where the job was sent, TypeError: no way"),
    ],
    ids=repr,
)
def test_a_header_that_says_nothing_reliable_is_unreadable(header: object, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        carriage.read(header)


def test_a_delivery_takes_the_place_of_what_is_around_it() -> None:
    with Current.set(tenant_id="globex"):
        with Delivery(ACME, "job 1"):
            assert Current.tenant_id == "acme"
        with Delivery(None, "job 2"):
            assert Current.scope == "unset"
        assert Current.tenant_id == "globex"


@pytest.mark.tenantjobs_leaks
def test_what_was_left_open_is_left_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Delivery(ACME, "job 1"):
        Current.switch("never left", tenant_id="globex").__enter__()

    assert Current.scope == "unset"
    assert "job 1 left a scope of Current open" in caplog.text


def test_a_delivery_that_ends_well_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tenantjobs.carriage"), Delivery(ACME, "job 1"):
        pass

    assert caplog.text == ""


@pytest.mark.parametrize("header", [None, {"v": 99}])
def test_required_admits_nothing_without_a_tenant(header: object) -> None:
    delivery = Delivery(header, "job 1")
    with delivery, pytest.raises(TenantMissing, match="job 1 came with"):
        delivery.admit("required", "say whom it is for")


def test_the_error_says_what_to_do() -> None:
    delivery = Delivery(None, "job 1")
    with delivery, pytest.raises(TenantMissing, match="without a tenant: say whom it is for"):
        delivery.admit("required", "say whom it is for")


def test_optional_admits_what_came_without_and_not_what_cannot_be_read() -> None:
    delivery = Delivery(None, "job 1")
    with delivery:
        delivery.admit("optional", "")
    delivery = Delivery({"v": 99}, "job 1")
    with delivery, pytest.raises(TenantMissing):
        delivery.admit("optional", "")


@pytest.mark.parametrize("header", [None, {"v": 99}, ACME], ids=["without", "unreadable", "gone"])
def test_observe_admits_everything_and_reports(header: object, caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery(header, "job 1")
    with runtime.override(tenant_locator=lambda _id: None), delivery:
        delivery.admit("observe", "")

    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("job 1")
    assert told.endswith(". It runs, because tenancy is 'observe'.")


def test_a_tenant_that_is_gone_is_refused() -> None:
    delivery = Delivery(ACME, "job 1")
    with runtime.override(tenant_locator=lambda _id: None), delivery:
        with pytest.raises(TenantGone):
            delivery.admit("required", "")


def test_system_scope_is_admitted() -> None:
    delivery = Delivery({"v": 1, "system": "nightly"}, "job 1")
    with delivery:
        delivery.admit("required", "")

        assert Current.scope == "system"


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_watches_native_jobs_too() -> None:
    with sentinel.watch() as watching:
        with Delivery(ACME, "job 1"):
            Current.switch("never left", tenant_id="globex").__enter__()
        with pytest.raises(ZeroDivisionError), Delivery(ACME, "job 2"):
            raise ZeroDivisionError

    (leak,) = watching.leaks
    assert (leak.kind, leak.job, leak.tenant_id) == ("context", "job 1", "acme")


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_that_raises_leaves_nothing_open() -> None:
    with sentinel.watch("raise"), pytest.raises(sentinel.TenantLeak), Delivery(ACME, "job 1"):
        Current.switch("never left", tenant_id="globex").__enter__()

    assert Current.scope == "unset"
