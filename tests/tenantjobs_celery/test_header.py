from __future__ import annotations

import json
from typing import Any

import pytest
from amqp.serialization import dumps, loads  # type: ignore[import-untyped]  # it has no types
from hypothesis import given
from hypothesis import strategies as st

import tenantjobs_celery
from tenantjobs.carriage import Unreadable, read, write
from tenantjobs.current import Current, Snapshot
from tenantjobs_celery.header import carried

ids = st.from_regex(r"[1-9A-Za-z][0-9A-Za-z_-]{0,34}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
scopes: st.SearchStrategy[dict[str, str]] = (
    st.builds(dict, tenant_id=ids) | st.builds(dict, system=st.just("nightly cleanup")) | st.just({})
)
snapshots = st.builds(
    lambda scope, attributes: Snapshot(**scope, attributes=attributes),
    scopes,
    st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), trees, max_size=3),
)


@given(snapshots)
def test_a_scope_comes_back_from_its_text_as_it_was(snapshot: Snapshot) -> None:
    assert snapshot == read(tenantjobs_celery.headers(snapshot).get("tenantjobs"))


@given(snapshots)
def test_a_scope_that_was_sent_as_an_object_comes_back_from_json_as_it_was(snapshot: Snapshot) -> None:
    header = json.loads(json.dumps(write(snapshot)))

    assert snapshot == read(header)


@given(snapshots)
def test_a_scope_comes_back_from_the_headers_of_amqp_as_it_was(snapshot: Snapshot) -> None:
    [header], _ = loads("F", dumps("F", [{"tenantjobs": write(snapshot)}]), 0)

    assert snapshot == read(header["tenantjobs"])


def test_the_header_says_its_version_and_nothing_that_is_empty() -> None:
    assert write(Snapshot(tenant_id="42")) == '{"v":1,"tenant_id":"42"}'
    assert write(Snapshot(system="cleanup")) == '{"v":1,"system":"cleanup"}'


def test_an_empty_scope_has_no_header() -> None:
    assert write(Snapshot()) is None
    assert not read(None)


@pytest.mark.parametrize(
    "header",
    [
        "acme",
        b"acme",
        "[" * 100_000,
        '{"v":2,"tenant_id":"acme"}',
        ["acme"],
        {},
        {"tenant_id": "acme"},
        {"v": 2, "tenant_id": "acme"},
        {"v": "1", "tenant_id": "acme"},
        {"v": 1, "tenant_id": 42},
        {"v": 1, "tenant_id": ""},
        {"v": 1, "tenant_id": "0"},
        {"v": 1, "tenant_id": "acme", "system": "both"},
        {"v": 1, "system": " "},
        {"v": 1, "tenant_id": "acme", "unknown": 1},
        {"v": 1, "attributes": "none"},
        {"v": 1, "error": "SerializationError: why"},
    ],
    ids=lambda header: str(header)[:40],
)
def test_what_nobody_has_written_is_not_guessed_at(header: object) -> None:
    with pytest.raises(Unreadable):
        read(header)


def test_the_header_is_found_wherever_celery_has_put_it() -> None:
    header = {"v": 1, "tenant_id": "acme"}

    assert header == carried({"tenantjobs": header, "headers": {"tenantjobs": header}})
    assert header == carried({"tenantjobs": header, "headers": {"of": "another library"}})
    assert header == carried({"headers": {"tenantjobs": header}})
    assert carried({"headers": None}) is None
    assert carried({"headers": "odd"}) is None


def test_headers_are_those_of_the_scope_in_force_or_of_a_snapshot() -> None:
    with Current.set(tenant_id="acme"):
        assert {"tenantjobs": '{"v":1,"tenant_id":"acme"}'} == tenantjobs_celery.headers()
    assert {} == tenantjobs_celery.headers()
    assert {"tenantjobs": '{"v":1,"tenant_id":"globex"}'} == tenantjobs_celery.headers(Snapshot(tenant_id="globex"))
