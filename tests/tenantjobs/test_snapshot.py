"""What travels of a scope."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs.errors import EnvelopeError
from tenantjobs.snapshot import Snapshot

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(names, inside, max_size=3),
    max_leaves=5,
)
snapshots = st.builds(
    lambda scope, attributes: Snapshot(scope[0], scope[1], attributes),
    st.sampled_from([(None, None), ("42", None), ("é/:", None), (None, "nightly")]),
    st.dictionaries(names, trees, max_size=4),
)


@given(snapshots)
def test_a_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    again = Snapshot.decode(snapshot.encode())

    assert again == snapshot
    assert again.encode() == snapshot.encode()
    assert again.scope == snapshot.scope


def test_equal_snapshots_are_the_same_text() -> None:
    one = Snapshot("42", None, {"a": 1, "b": 2})
    other = Snapshot("42", None, {"b": 2, "a": 1})

    assert one.encode() == other.encode() == b'{"tenant_id":"42","attributes":{"a":1,"b":2}}'
    assert {one, other} == {one}


def test_the_order_within_a_value_is_kept() -> None:
    snapshot = Snapshot(attributes={"trace": {"b": 1, "a": 2}})

    assert list(Snapshot.decode(snapshot.encode()).attributes["trace"]) == ["b", "a"]


def test_an_empty_snapshot_is_false_and_an_empty_object() -> None:
    assert not Snapshot()
    assert Snapshot().encode() == b"{}"
    assert Snapshot.decode(b"{}") == Snapshot()
    assert Snapshot().scope == "unset"


@pytest.mark.parametrize("snapshot", [Snapshot("42"), Snapshot(system="why"), Snapshot(attributes={"a": None})])
def test_a_snapshot_of_something_is_true(snapshot: Snapshot) -> None:
    assert snapshot


def test_a_snapshot_does_not_change() -> None:
    given: dict[str, Any] = {"a": 1}
    snapshot = Snapshot("42", None, given)
    given["b"] = 2

    assert snapshot.attributes == {"a": 1}
    with pytest.raises(AttributeError):
        snapshot.tenant_id = "43"  # type: ignore[misc]  # the mistake under test
    with pytest.raises(TypeError):
        snapshot.attributes["b"] = 2  # type: ignore[index]  # the mistake under test


def test_its_tenant_is_canonical_and_never_nobody() -> None:
    tenant_id: Any = UUID("6F9619FF-8B86-D011-B42D-00CF4FC964FF")
    assert Snapshot(tenant_id).tenant_id == "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    for nobody in ("", " ", "0", 0):
        with pytest.raises(ValueError):
            Snapshot(nobody)  # type: ignore[arg-type]  # the mistake under test


def test_a_reason_says_something_and_excludes_a_tenant() -> None:
    with pytest.raises(ValueError, match="reason"):
        Snapshot(system=" ")
    with pytest.raises(ValueError, match="not of both"):
        Snapshot(tenant_id="42", system="why")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"acme"',
        b'{"tenant_id":42}',
        b'{"tenant_id":""}',
        b'{"tenant_id":" "}',
        b'{"tenant_id":"0"}',
        b'{"tenant_id":"42","system":"why"}',
        b'{"system":""}',
        b'{"attributes":[]}',
        b'{"attributes":{"a":1}',
        b'{"tenant":"42"}',
        b'{"tenant_id":"\xff"}',
    ],
)
def test_what_is_not_a_snapshot_is_an_envelope_error(text: bytes) -> None:
    with pytest.raises(EnvelopeError, match="context"):
        Snapshot.decode(text)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, msgspec.Raw, lambda text: text.decode()])
def test_a_snapshot_is_read_from_any_kind_of_text(kind: Any) -> None:
    assert Snapshot.decode(kind(b'{"tenant_id":"42"}')) == Snapshot("42")


def test_a_snapshot_can_be_copied_and_pickled() -> None:
    snapshot = Snapshot("42", None, {"a": [1]})

    assert [copy.copy(snapshot), copy.deepcopy(snapshot), pickle.loads(pickle.dumps(snapshot))] == [snapshot] * 3
    assert msgspec.structs.replace(snapshot, tenant_id="43") == Snapshot("43", None, {"a": [1]})
