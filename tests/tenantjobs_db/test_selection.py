from __future__ import annotations

import pytest

from tenantjobs.errors import ConfigurationError
from tenantjobs_db.selection import Selection


def test_exact_names_keep_the_order_of_the_list() -> None:
    assert Selection(["b", "a", "c"]).in_turn(["a", "b"]) == ["b", "a"]


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
