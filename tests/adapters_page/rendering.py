"""The page, from the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tenantjobs.testing.contract.carrying import Carrying
from tenantjobs.testing.contract.deciding import Deciding
from tenantjobs.testing.contract.following import Following
from tenantjobs.testing.contract.hooking import Hooking
from tenantjobs.testing.contract.ordering import Ordering
from tenantjobs.testing.contract.resuming import Resuming
from tenantjobs.testing.contract.surviving import Surviving
from tests.adapters_page.results import Column, Environment, Kit

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"

SIDES = {
    "What is enqueued is what is performed": Carrying,
    "What becomes of a job that does not succeed": Deciding,
    "What runs around a job": Hooking,
    "What follows a job": Following,
    "When and where": Ordering,
    "Where a job with steps goes on": Resuming,
    "What holds when things end": Surviving,
}

# What can be said of every queue, and where the answer is: declared by its adapter, or by its harness.
ABILITIES = {
    "delay": "`wait`, `wait_until`, retries that wait",
    "priority": "`priority`: lower runs sooner",
    "queues": "a worker serves the queues that it is given",
    "bulk": "many jobs leave together",
    "cancel": "`handle.cancel()`",
    "transactional": "`transactional=True` without an inbox",
    "results": "`keep_result=True`: what a job returned can be read",
    "survives_kill": "the job of a killed worker comes back within 30 seconds",
    "gives_back": "a job that is interrupted in a worker that goes on is performed again",
    "interrupts": "a worker that stops interrupts jobs with steps at their next checkpoint",
}

# Where an ability is not the queue's own, or has a limit: (adapter, ability).
NOTES = {
    ("celery", "delay"): "a worker holds a delayed message; one of more than ten minutes is sent on in strides",
    ("celery", "priority"): "ten classes: those of -10, -1, 0, 1, 2, 3, 5, 10, 20 and 50",
    ("celery", "bulk"): "one channel; a broker that goes away in the middle has what was sent before",
    ("celery on Redis", "survives_kill"): "after `visibility_timeout` of the broker, an hour by default",
    ("dramatiq", "delay"): "a worker holds a delayed message; one of more than ten minutes is sent on in strides",
    ("dramatiq on RabbitMQ", "priority"): "ten classes, as on Celery, if its broker is made with `max_priority`",
    ("dramatiq on RabbitMQ", "bulk"): "one channel, one by one",
    (
        "dramatiq on Redis",
        "survives_kill",
    ): "after `heartbeat_timeout` of the broker, a minute by default, 2 s in the kit",
    ("rq", "delay"): "RQ's scheduler looks once a second",
    ("rq", "cancel"): "too late within ten seconds of its time, and between two attempts",
    ("rq", "survives_kill"): "comes back when RQ misses the heartbeat, after a minute or two",
    ("db", "transactional"): "with `[db] engine`: in the application's own database",
    ("db", "results"): "as long as finished jobs are kept: `keep_finished`, a day by default",
    ("db", "survives_kill"): "when its lease is out: `lease`, 60 seconds by default, 3 in the kit",
    ("inline", "queues"): "every job is performed by its caller",
    ("inline", "delay"): "a retry follows at once, whatever it was to wait",
    ("inline", "priority"): "nothing ever waits, so any order is kept",
    ("inline", "results"): "those of the last thousand jobs, in this process",
    ("inline", "survives_kill"): "there is no worker: the caller and its job die together",
}

HEAD = Path(__file__).with_name("head.md")


def render(kit: Kit, matrix: Mapping[str, Environment]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in kit.versions.items())
    parts = [HEAD.read_text(), "## What can be asked of a queue\n", *_abilities(kit.columns)]
    parts += [
        "## Case by case\n",
        f"Measured with {versions}. Where there is a `-`, the number says why.\n",
        *_cases(kit.columns),
    ]
    if matrix:
        parts += [
            "## Oldest and newest\n",
            "The suite without crash and race tests, each in an environment of its own, by `make matrix`:\n",
        ]
        parts += _versions(matrix)
    return "\n".join(parts).rstrip("\n") + "\n"


def _abilities(columns: Mapping[str, Column]) -> Iterator[str]:
    notes = Notes()
    rows = []
    for ability, words in ABILITIES.items():
        cells = []
        for name, column in columns.items():
            able = {**column.capabilities, **column.says}[ability]
            note = NOTES.get((name, ability)) or NOTES.get((name.split()[0], ability))
            cells.append(("yes" if able else "no") + ("" if note is None else notes.mark(f"{name.split()[0]}: {note}")))
        rows.append((words, *cells))
    yield from _table(("", *columns), rows)
    yield from notes.listed()


def _cases(columns: Mapping[str, Column]) -> Iterator[str]:
    notes = Notes()
    found = sorted({case for column in columns.values() for case in column.cases})
    for title, side in SIDES.items():
        rows = []
        for case in (case for name in vars(side) for case in found if case.partition("[")[0] == name):
            cells = [_cell(column.cases.get(case, "not run"), notes) for column in columns.values()]
            rows.append((words(case), *cells))
        yield from _table((title, *columns), rows)
    yield from notes.listed()


def _cell(outcome: str, notes: Notes) -> str:
    return "✓" if outcome == "passed" else "-" + notes.mark(outcome)


def words(case: str) -> str:
    name, _, parameter = case.removeprefix("test_").partition("[")
    return name.replace("_", " ") + (f": {parameter.rstrip(']')}" if parameter else "")


def _versions(matrix: Mapping[str, Environment]) -> Iterator[str]:
    names = dict.fromkeys(name for environment in matrix.values() for name in environment.versions)
    rows: list[Sequence[str]] = [("Python", *(each.python for each in matrix.values()))]
    rows += [(name, *(each.versions.get(name, "-") for each in matrix.values())) for name in names]
    rows.append(("tests passed", *(str(each.passed) for each in matrix.values())))
    rows.append(
        ("of them alone, not in the company of others", *(str(len(each.passed_alone)) for each in matrix.values()))
    )
    rows.append(("tests skipped", *(str(each.skipped) for each in matrix.values())))
    rows.append(("**outcome**", *(each.outcome for each in matrix.values())))
    yield from _table(("", *matrix), rows)
    for name, environment in matrix.items():
        yield from (f"- {name}, failed: `{test}`" for test in environment.failed)


class Notes:
    """Footnotes, numbered in the order in which they come up."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        return f" <sup>{self._numbers.setdefault(text, len(self._numbers) + 1)}</sup>"

    def listed(self) -> Iterator[str]:
        yield from (f"{number}. {text}" for text, number in self._numbers.items())
        yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|:---:" * (len(head) - 1) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""
