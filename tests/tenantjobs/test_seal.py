from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs import carriage, seal, testing
from tenantjobs.carriage import Delivery
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import BadSignature
from tenantjobs.seal import Own, json_of, opened, sealed, unsealed
from tests.tenantjobs_celery.test_header import snapshots, trees

KEYS = ["2026-11:a new secret, in use"]
ACME = '{"v":1,"tenant_id":"acme"}'


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    with testing.override(signing={"keys": KEYS}):
        yield


def of(*parts: str) -> Any:
    return lambda: parts


def wrong(header: object, *parts: str) -> str:
    _, error = opened(header, of(*parts), "job 1")
    return "" if error is None else str(error)


@given(snapshots)
def test_any_scope_comes_out_of_its_seal_as_it_was(snapshot: Snapshot) -> None:
    text = carriage.write(snapshot)
    closed = sealed(text, of("a"))

    assert opened(closed, of("a"), "job 1") == (text or seal.NO_SCOPE, None)
    assert carriage.read(closed) == snapshot  # where there are no keys to look at it with
    assert carriage.read(opened(closed, of("a"), "job 1")[0]) == snapshot


@given(st.integers(min_value=0), st.integers(1, 127))
def test_no_changed_character_gets_past_the_seal(place: int, bits: int) -> None:
    closed = list(str(sealed(ACME, of("a"))))
    closed[place % len(closed)] = chr(ord(closed[place % len(closed)]) ^ bits)

    assert wrong("".join(closed), "a")


def test_a_seal_is_good_for_one_message_alone() -> None:
    closed = sealed(ACME, of("celery", "task", "id"))

    assert not wrong(closed, "celery", "task", "id")
    assert "changed on its way" in wrong(closed, "rq", "task", "id")
    assert "changed on its way" in wrong(closed, "celery", "task", "other")
    assert "changed on its way" in wrong(closed, "celery", "taskid", "")
    assert "changed on its way" in wrong(closed)


def test_what_is_sealed_again_has_one_seal() -> None:
    first = sealed(ACME, of("a"))

    assert unsealed(str(sealed(first, of("b"))))[0] == ACME
    assert not wrong(sealed(first, of("b")), "b")


def test_what_this_process_wrote_is_believed_and_what_was_carried_elsewhere_is_not() -> None:
    assert not wrong(Own(ACME))
    assert all(
        "is not signed" in wrong(moved)
        for moved in (ACME, pickle.loads(pickle.dumps(Own(ACME))), copy.deepcopy(Own(ACME)), str(Own(ACME)))
    )


def test_a_delivery_that_was_forged_has_no_scope_and_is_not_admitted_whatever_the_policy() -> None:
    policies: tuple[carriage.Tenancy, ...] = ("required", "optional", "observe")
    for policy in policies:
        delivery = Delivery.of(ACME, lambda: "job 1", of("a"))
        with delivery:
            assert Current.scope == "unset"
            with pytest.raises(BadSignature, match="job 1 is not signed"):
                delivery.admit(policy, "")
            with pytest.raises(BadSignature):
                delivery.admit_seal()


def test_a_carriage_that_does_not_say_what_is_covered_accepts_nothing() -> None:
    delivery = Delivery.of(sealed(ACME, of("a")), lambda: "job 1")
    with delivery, pytest.raises(BadSignature):
        delivery.admit("optional", "")


def test_without_keys_nothing_is_asked_for() -> None:
    def covered() -> list[str]:
        raise AssertionError("nobody signs here")

    with testing.override(signing={"mode": "off"}):
        assert sealed(ACME, covered) == ACME
        assert sealed(None, covered) is None
        assert opened(ACME, covered, "job 1") == (ACME, None)


@given(trees)
def test_the_text_of_arguments_is_the_same_when_they_have_travelled(tree: Any) -> None:
    assert json_of(json.loads(json.dumps(tree)), json.dumps, json.loads) == json_of(tree, json.dumps, json.loads) != ""


def test_arguments_that_do_not_fit_into_json_have_no_text() -> None:
    assert json_of([object()], json.dumps, json.loads) == ""
