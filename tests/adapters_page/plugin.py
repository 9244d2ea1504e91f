"""The plugin of pytest that holds every case of the kit against what the page says of it, or records it anew."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from tenantjobs.testing import AdapterContract
from tests.adapters_page.results import COLUMNS, Column, Kit, read_kit, write

RECORD = "TENANTJOBS_RECORD_KIT"  # the file that results go to, instead of being compared
NOWHERE = "nowhere"  # or this: neither

SAYS = ("in_process", "survives_kill", "gives_back", "interrupts")
AGAIN = "docs/adapters.md says otherwise: run `python -m tests.adapters_page`"
FOUND = "tenantjobs.contract"

_columns = {node: name for name, node in COLUMNS.items()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    name = _columns.get(item.nodeid.rpartition("::")[0])
    # A case that is skipped before it is called lacks a server, of which the page says nothing; nor of what a queue
    # is tested for beside the kit.
    if name is not None and call.when == "call" and hasattr(AdapterContract, _case(item)):
        outcome = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else report.outcome  # type: ignore[index]
        found = Column(
            capabilities=msgspec.structs.asdict(item.instance.configured.capabilities),  # type: ignore[attr-defined]
            says={each: getattr(item.instance, each) for each in SAYS},  # type: ignore[attr-defined]
            cases={item.name: outcome},
        )
        report.user_properties.append((FOUND, {name: msgspec.to_builtins(found)}))
        if RECORD not in os.environ and not report.failed:
            _compare(report, name, found)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path = os.environ.get(RECORD, NOWHERE)
    found = dict(report.user_properties).get(FOUND)
    # Where several processes run tests, each report comes here a second time, in the one that started them.
    if path != NOWHERE and found is not None and report.when == "call" and "PYTEST_XDIST_WORKER" not in os.environ:
        for name, column in msgspec.convert(found, dict[str, Column]).items():
            _record(Path(path), name, column)


def _case(item: pytest.Item) -> str:
    return item.name.partition("[")[0]


def _record(path: Path, name: str, found: Column) -> None:
    kit = read_kit(path) if path.exists() else Kit({}, {})
    known = kit.columns.setdefault(name, found)
    known.cases.update(found.cases)
    write(path, kit)


def _compare(report: pytest.TestReport, name: str, found: Column) -> None:
    known = read_kit().columns.get(name, Column())
    case = next(iter(found.cases))
    recorded = Column(known.capabilities, known.says, {case: known.cases.get(case, "nothing")})
    if recorded != found:
        report.outcome = "failed"
        report.longrepr = f"{AGAIN}\n{name}: {found}\nrecorded: {recorded}"
