"""docs/parity.md, made of the rows and of the tests that are marked with them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.parity.rows import ROWS, SECTIONS, Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parity.md"

INTRODUCTION = """\
# Parity

What people know from Active Job and its neighbours, row by row: what it is here, and the tests that show it. Where we
deviate, the row says why. A row that says *not yet* is not built, or only as far as it says.

This page is made by `python -m tests.parity` from `tests/parity/rows.toml` and the marks `@pytest.mark.parity(...)` of
the tests; do not edit it.
"""


def render() -> str:
    """The page as it should be."""
    shown = marked()
    parts = [INTRODUCTION]
    for section, title in SECTIONS.items():
        parts += [f"## {title}\n", "| | what | here | shown by |", "|---|---|---|---|"]
        parts += [_line(row, shown.get(row.id, [])) for row in ROWS if row.id.startswith(f"{section}.")]
        parts.append("")
    return "\n".join(parts)


@cache
def marked() -> dict[str, list[str]]:
    """The tests by the rows that they are marked with, as ``file::name``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, rows in _marks(path):
            for row in rows:
                found.setdefault(row, []).append(f"{path.relative_to(ROOT / 'tests')}::{name}")
    return found


def _marks(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parity":
                    yield node.name, [ast.literal_eval(argument) for argument in decorator.args]


def _line(row: Row, tests: list[str]) -> str:
    told = [row.ours]
    if row.decision:
        told.append(f"*Deviates*: {row.decision}")
    if row.not_yet:
        told.append(f"*Not yet*: {row.not_yet}")
    shown = "<br>".join(f"`{test}`" for test in tests)
    return f"| {row.id} | {row.what} | {' '.join(filter(None, told))} | {shown} |"
