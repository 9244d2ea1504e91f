"""The page and the linter know the same floors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_floors_on_the_page_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floors,) = (contract["layers"] for contract in contracts if contract["id"] == "floors")
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = page.partition("## The floors")[2].partition("```\n")[2].partition("```")[0]

    assert [re.split(r"  +", line)[0] for line in block.splitlines()] == floors
