from __future__ import annotations

import msgspec
import pytest

from tenantjobs.testing import AdapterContract
from tests.adapters_page import plugin
from tests.adapters_page.rendering import ABILITIES, NOTES, PAGE, render, words
from tests.adapters_page.results import COLUMNS, Column, read_kit, read_matrix

AGAIN = "run `python -m tests.adapters_page`"


def report(outcome: str) -> pytest.TestReport:
    return pytest.TestReport("a case", ("", 0, ""), {}, outcome, None, "call")  # type: ignore[arg-type]


def test_the_page_is_what_the_results_give() -> None:
    assert PAGE.read_text() == render(read_kit(), read_matrix()), AGAIN


def test_every_case_of_the_kit_has_a_result_on_every_queue() -> None:
    cases = {name for name in dir(AdapterContract) if name.startswith("test_")}
    recorded = {name: {case.partition("[")[0] for case in column.cases} for name, column in read_kit().columns.items()}

    assert recorded == dict.fromkeys(COLUMNS, cases), AGAIN


def test_every_case_has_a_row() -> None:
    cases = {case for column in read_kit().columns.values() for case in column.cases}
    page = PAGE.read_text()

    assert [case for case in cases if f"| {words(case)} |" not in page] == []


def test_rows_are_in_the_order_of_the_kit_whatever_came_first() -> None:
    kit, reordered = read_kit(), read_kit()
    for column in reordered.columns.values():
        column.cases = dict(reversed(column.cases.items()))

    assert render(kit, {}) == render(reordered, {})


def test_nothing_that_failed_is_on_the_page() -> None:
    outcomes = {outcome for column in read_kit().columns.values() for outcome in column.cases.values()}

    assert outcomes.isdisjoint({"failed", "error"})


def test_every_note_is_about_something_that_is_on_the_page() -> None:
    names = {*COLUMNS, *(name.split()[0] for name in COLUMNS)}

    assert [(name, ability) for name, ability in NOTES if name not in names or ability not in ABILITIES] == []


@pytest.mark.parametrize(
    "changed",
    [{"capabilities": {"delay": False}}, {"says": {"survives_kill": True}}, {"cases": {"test_it": "it has no delay"}}],
)
def test_a_case_that_the_page_tells_otherwise_fails(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, dict[str, object]]
) -> None:
    recorded = Column({"delay": True}, {"survives_kill": False}, {"test_it": "passed", "test_other": "passed"})
    kit = read_kit()
    monkeypatch.setattr(plugin, "read_kit", lambda: msgspec.structs.replace(kit, columns={"rq": recorded}))
    found = msgspec.structs.replace(recorded, cases={"test_it": "passed"})

    same, other = report("passed"), report("passed")
    plugin._compare(same, "rq", found)
    plugin._compare(other, "rq", msgspec.structs.replace(found, **changed))

    assert (same.outcome, other.outcome) == ("passed", "failed")
    assert "run `python -m tests.adapters_page`" in str(other.longrepr)
