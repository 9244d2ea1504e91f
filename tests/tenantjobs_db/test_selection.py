from __future__ import annotations

from collections import Counter

import pytest

from tenantjobs.errors import ConfigurationError
from tenantjobs_db.selection import Selection


@pytest.mark.parity("1b.07")
def test_exact_names_keep_the_order_of_the_list() -> None:
    assert Selection(["b", "a", "c"]).in_turn(["a", "b"]) == ["b", "a"]


@pytest.mark.parity("1b.07")
def test_a_prefix_stands_for_the_queues_that_have_work() -> None:
    selection = Selection(["urgent", "mail*"])

    assert selection.in_turn(["mailbox", "mail-a", "other", "urgent"]) == ["urgent", "mail-a", "mailbox"]


def test_a_queue_named_before_a_wildcard_keeps_its_place() -> None:
    assert Selection(["mail-z", "mail*"]).in_turn(["mail-a", "mail-z"]) == ["mail-z", "mail-a"]


def test_the_queues_of_a_wildcard_take_turns() -> None:
    selection = Selection(["*"])

    selection.served("a")

    assert selection.in_turn(["a", "b", "c"]) == ["b", "c", "a"]


@pytest.mark.parametrize("wildcards", ["_", "%", "?"])
def test_what_other_languages_call_a_wildcard_is_a_letter(wildcards: str) -> None:
    assert Selection([f"mail{wildcards}*"]).in_turn(["mail-a"]) == []


@pytest.mark.parametrize(
    ("queues", "to_write"),
    [
        ("critical,default", '["critical", "default"]'),
        (["critical, default", "low"], '["critical", "default", "low"]'),
        (["*", "low"], '["*"], or ["low"]'),
        (["low", "*", "mail"], '["low", "mail"]'),
        ([], '["*"]'),
        ([" "], '["*"]'),
    ],
)
def test_what_is_no_list_of_queues_is_refused_with_the_list_to_write(queues: list[str], to_write: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Selection(queues)

    assert to_write in str(refused.value)


@pytest.mark.parametrize("name", ["*mail", "ma*il", "**"])
def test_a_star_elsewhere_than_at_the_end_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="stands at the end"):
        Selection([name])


def test_weighted_queues_have_their_shares_however_many_are_claimed_at_once() -> None:
    selection = Selection(["mailers", "low"], {"mailers": 6, "low": 1})
    had = Counter[str]()
    for wanted in [1, 3, 2, 5] * 100:
        first = selection.in_turn(["low", "mailers"])[0]
        selection.served(first, wanted)
        had[first] += wanted

    assert had["mailers"] / had["low"] == pytest.approx(6, rel=0.03)


def test_a_weighted_queue_without_work_leaves_its_share_and_saves_nothing() -> None:
    selection = Selection(["a", "b"], {"a": 1, "b": 1})
    for _ in range(100):
        assert selection.in_turn(["b"]) == ["b"]
        selection.served("b")

    order = []
    for _ in range(6):
        order.append(selection.in_turn(["a", "b"])[0])
        selection.served(order[-1])

    assert order == ["a", "b", "a", "b", "a", "b"]


def test_a_weighted_prefix_is_one_entry() -> None:
    selection = Selection(["mail*", "low"], {"mail*": 2, "low": 1})
    had = Counter[str]()
    for _ in range(90):
        first = selection.in_turn(["low", "mail-a", "mail-b"])[0]
        selection.served(first)
        had[first] += 1

    assert had == {"mail-a": 30, "mail-b": 30, "low": 30}


@pytest.mark.parametrize("weight", [0, -1, 1.5, True, 1001])
def test_a_weight_of_a_queue_is_a_whole_number_from_one_on(weight: int) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 1000"):
        Selection(["a"], {"a": weight})
