# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from tenantjobs_celery.signatures import stamped

ACME = {"v": 1, "tenant_id": "acme"}
GLOBEX = {"v": 1, "tenant_id": "globex"}


@pytest.fixture
def s() -> Iterator[Any]:
    app = Celery("signatures", set_as_current=False, broker="memory://", backend="cache+memory://")

    @app.task(name="s", shared=False)
    def task(*args: object) -> None: ...

    yield task.si
    app.close()


def leaves(signature: Any) -> Iterator[Any]:
    """The signatures inside that become a message, wherever they are."""
    if isinstance(signature, (list, tuple)):
        for each in signature:
            yield from leaves(each)
    elif isinstance(signature, dict):
        if signature.get("subtask_type") not in ("chain", "group", "chord"):
            yield signature
        for part in ("tasks", "header", "body"):
            yield from leaves(signature["kwargs"].get(part))
        for follower in ("link", "link_error", "chain", "chord"):
            yield from leaves(signature["options"].get(follower))


def scopes(signature: Any) -> list[Any]:
    return [leaf["options"].get("headers", {}).get("tenantjobs") for leaf in leaves(signature)]


KINDS: dict[str, Callable[[Any], Any]] = {
    "task": lambda s: s(1),
    "linked": lambda s: s(1).on_error(s(2)).set(link=[s(3), s(4)]),
    "chain": lambda s: chain(s(1), s(2), s(3)),
    "group": lambda s: group([s(1), s(2)]),
    "generated group": lambda s: group(s(number) for number in range(2)),
    "chord": lambda s: chord([s(1), s(2)], s(3)),
    "nested": lambda s: chord([chain(s(1), s(2)), s(3)], chain(s(4), group([s(5), s(6)]), s(7).set(link=s(8)))),
    "map": lambda s: s(1).type.map([1, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["object", "dict"])
def test_a_copy_carries_the_scope_in_all_signatures_inside_and_the_original_in_none(
    s: Any, kind: str, form: str
) -> None:
    original = KINDS[kind](s)
    if form == "dict":
        original = json.loads(json.dumps(original))
    before = json.dumps(original)

    copied = stamped(original, ACME)

    assert scopes(copied)
    assert all(scope == ACME for scope in scopes(copied))
    assert before == json.dumps(original)
    assert type(original) is type(copied)


@pytest.mark.parametrize("kind", KINDS)
def test_apart_from_the_scope_the_copy_is_what_it_was(s: Any, kind: str) -> None:
    original = KINDS[kind](s)

    copied = json.loads(json.dumps(stamped(original, ACME)))
    for leaf in leaves(copied):
        del leaf["options"]["headers"]

    assert json.loads(json.dumps(original)) == copied


@pytest.mark.parametrize("kind", KINDS)
def test_a_scope_that_a_signature_has_already_stays(s: Any, kind: str) -> None:
    copied = stamped(stamped(KINDS[kind](s), ACME), GLOBEX)

    assert all(scope == ACME for scope in scopes(copied))


@pytest.mark.parametrize("kind", KINDS)
def test_serializers_that_keep_classes_keep_them(s: Any, kind: str) -> None:
    original = KINDS[kind](s)

    copied = pickle.loads(pickle.dumps(stamped(original, ACME)))

    assert type(pickle.loads(pickle.dumps(original))) is type(copied)
    assert all(scope == ACME for scope in scopes(copied))


def test_the_headers_of_the_user_stay(s: Any) -> None:
    copied = stamped(s(1).set(headers={"color": "blue"}), ACME)

    assert {"color": "blue", "tenantjobs": ACME} == copied["options"]["headers"]


def test_headers_of_the_whole_replace_those_of_its_parts_so_that_they_carry_the_scope_too(s: Any) -> None:
    copied = stamped(group([s(1)]).set(headers={"color": "blue"}), ACME)

    assert {"color": "blue", "tenantjobs": ACME} == copied["options"]["headers"]
    assert "headers" not in stamped(group([s(1)]), ACME)["options"]


def test_a_signature_as_an_argument_is_left_alone(s: Any) -> None:
    copied = stamped(s(s(1)), ACME)

    assert "headers" not in copied["args"][0]["options"]


@pytest.mark.parametrize("odd", [None, 7, "name", []], ids=repr)
def test_what_is_no_signature_is_left_alone(odd: object) -> None:
    assert odd == stamped(odd, ACME)
