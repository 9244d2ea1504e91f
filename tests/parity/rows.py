"""The rows of docs/parity.md."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

SECTIONS = {
    "1a": "Active Job",
    "1b": "Solid Queue",
    "1c": "The dashboard, Current, GlobalID, unique jobs, and the extras of GoodJob",
    "1d": "Schedules in words",
}


class Row(NamedTuple):
    """``ours`` says what it is here, ``decision`` where and why it deviates, ``not_yet`` what is missing.

    ``code`` names the functions without which it would not be so, as ``module:function`` or ``module:Class.method``:
    ``make mutate`` takes them out.
    """

    id: str
    what: str
    ours: str = ""
    decision: str = ""
    not_yet: str = ""
    code: tuple[str, ...] = ()


ROWS = [
    Row(number, **{**texts, "code": tuple(texts.get("code", ()))})
    for number, texts in tomllib.loads((Path(__file__).parent / "rows.toml").read_text("utf-8")).items()
]


def file_of(module: str) -> str:
    """Where a module is, from the root."""
    folder = "" if module.split(".")[0] == "tenantjobs" else "adapters/"
    return f"{folder}{module.replace('.', '/')}.py"
