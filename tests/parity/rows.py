"""The rows of docs/parity.md."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

SECTIONS = {"1a": "Active Job", "1c": "The dashboard, Current, GlobalID, unique jobs, and the extras of GoodJob"}


class Row(NamedTuple):
    """``ours`` says what it is here, ``decision`` where and why it deviates, ``not_yet`` what is missing."""

    id: str
    what: str
    ours: str = ""
    decision: str = ""
    not_yet: str = ""


ROWS = [
    Row(number, **texts)
    for number, texts in tomllib.loads((Path(__file__).parent / "rows.toml").read_text("utf-8")).items()
]
