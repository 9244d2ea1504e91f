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
        with Delivery.of(ACME, lambda: "job 1"):
            assert Current.tenant_id == "acme"
        with Delivery.of(None, lambda: "job 2"):
            assert Current.scope == "unset"
        assert Current.tenant_id == "globex"


@pytest.mark.tenantjobs_leaks
def test_what_was_left_open_is_left_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Delivery.of(ACME, lambda: "job 1"):
        Current.switch("never left", tenant_id="globex").__enter__()

    assert Current.scope == "unset"
    assert "job 1 left a scope of Current open" in caplog.text


def test_a_delivery_that_ends_well_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tenantjobs.carriage"), Delivery.of(ACME, lambda: "job 1"):
        pass

    assert caplog.text == ""


@pytest.mark.parametrize("header", [None, {"v": 99}])
def test_required_admits_nothing_without_a_tenant(header: object) -> None:
    delivery = Delivery.of(header, lambda: "job 1")
    with delivery, pytest.raises(TenantMissing, match="job 1 came with"):
        delivery.admit("required", "say whom it is for")


def test_the_error_says_what_to_do() -> None:
    delivery = Delivery.of(None, lambda: "job 1")
    with delivery, pytest.raises(TenantMissing, match="without a tenant: say whom it is for"):
        delivery.admit("required", "say whom it is for")


def test_optional_admits_what_came_without_and_not_what_cannot_be_read() -> None:
    delivery = Delivery.of(None, lambda: "job 1")
    with delivery:
        delivery.admit("optional", "")
    delivery = Delivery.of({"v": 99}, lambda: "job 1")
    with delivery, pytest.raises(TenantMissing):
        delivery.admit("optional", "")


@pytest.mark.parametrize("header", [None, {"v": 99}, ACME], ids=["without", "unreadable", "gone"])
def test_observe_admits_everything_and_reports(header: object, caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery.of(header, lambda: "job 1")
    with runtime.override(tenant_locator=lambda _id: None), delivery:
        delivery.admit("observe", "")

    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("job 1")
    assert told.endswith(". It runs, because tenancy is 'observe'.")


def test_a_tenant_that_is_gone_is_refused() -> None:
    delivery = Delivery.of(ACME, lambda: "job 1")
    with runtime.override(tenant_locator=lambda _id: None), delivery:
        with pytest.raises(TenantGone):
            delivery.admit("required", "")


def test_system_scope_is_admitted() -> None:
    delivery = Delivery.of({"v": 1, "system": "nightly"}, lambda: "job 1")
    with delivery:
        delivery.admit("required", "")

        assert Current.scope == "system"


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_watches_native_jobs_too() -> None:
    with sentinel.watch() as watching:
        with Delivery.of(ACME, lambda: "job 1"):
            Current.switch("never left", tenant_id="globex").__enter__()
        with pytest.raises(ZeroDivisionError), Delivery.of(ACME, lambda: "job 2"):
            raise ZeroDivisionError

    (leak,) = watching.leaks
    assert (leak.kind, leak.job, leak.tenant_id) == ("context", "job 1", "acme")


@pytest.mark.tenantjobs_leaks
def test_a_sentinel_that_raises_leaves_nothing_open() -> None:
    with sentinel.watch("raise"), pytest.raises(sentinel.TenantLeak), Delivery.of(ACME, lambda: "job 1"):
        Current.switch("never left", tenant_id="globex").__enter__()

    assert Current.scope == "unset"


@pytest.mark.tenantjobs_leaks  # nobody watches
def test_a_tenant_that_nobody_is_asked_about_is_delivered_at_once() -> None:
    delivery = Delivery.at_once(carriage.write(Snapshot(tenant_id="acme")), lambda: "job 1")
    assert delivery is not None

    assert (Current.tenant_id, delivery.header) == ("acme", '{"v":1,"tenant_id":"acme"}')
    delivery.admit("required", "")
    delivery.__exit__(None, None, None)
    assert Current.scope == "unset"


@pytest.mark.tenantjobs_leaks
def test_what_was_left_open_in_one_that_was_delivered_at_once_is_left_too(caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery.at_once(carriage.write(Snapshot(tenant_id="acme")), lambda: "job 1")
    assert delivery is not None
    Current.switch("never left", tenant_id="globex").__enter__()
    delivery.__exit__(None, None, None)

    assert Current.scope == "unset"
    assert "job 1 left a scope of Current open" in caplog.text


@pytest.mark.tenantjobs_leaks  # nobody watches
@pytest.mark.parametrize(
    "header",
    [
        None,
        ACME,
        "acme",
        '{"v":99,"tenant_id":"acme"}',
        '{"v":1,"system":"nightly"}',
        '{"v":1,"tenant_id":"acme","attributes":{"user":1}}',
        f'{{"v":1,"tenant_id":"{"a" * 200}"}}',
    ],
    ids=repr,
)
def test_what_says_more_or_less_than_a_tenant_is_not_delivered_at_once(header: object) -> None:
    assert Delivery.at_once(header, lambda: "job 1") is None
    assert Current.scope == "unset"


@pytest.mark.tenantjobs_leaks  # nobody watches
@pytest.mark.parametrize(
    "settings",
    [{"tenant_locator": lambda _id: None}, {"signing": {"keys": ["k1:0123456789abcdef0123456789abcdef"]}}],
    ids=["locator", "keys"],
)
def test_nothing_is_delivered_at_once_where_somebody_is_to_be_asked(settings: dict[str, Any]) -> None:
    header = carriage.write(Snapshot(tenant_id="acme"))
    before = Delivery.at_once(header, lambda: "job 1")
    assert before is not None
    before.__exit__(None, None, None)

    with runtime.override(**settings):
        assert Delivery.at_once(header, lambda: "job 1") is None


@pytest.mark.tenantjobs_leaks  # nobody watches, at first
def test_nothing_is_delivered_at_once_inside_of_a_scope_or_under_a_sentinel() -> None:
    header = carriage.write(Snapshot(tenant_id="acme"))
    with Current.set(tenant_id="globex"):
        assert Delivery.at_once(header, lambda: "job 1") is None
    with sentinel.watch():
        assert Delivery.at_once(header, lambda: "job 1") is None
