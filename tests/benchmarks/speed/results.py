"""What a run has come to, as it is written: ``build/bench.json``, and with the machine ``docs/benchmarks.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tests.benchmarks.measure import median
from tests.benchmarks.speed.measures import Round
from tests.benchmarks.speed.noise import NOISY
from tests.benchmarks.speed.rows import Row


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One row: medians, and how wide the middle half of the figures is, as a share of the median.

    ``noise`` is the most that others have used in one of the rounds, in processors.
    """

    ours: float
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    spread: float
    peer_spread: float | None = None
    unit: str
    rounds: int
    noise: float

    @property
    def noisy(self) -> bool:
        return self.noise > NOISY


class Record(msgspec.Struct):
    """What the page is made from: where a run was made, and its rows."""

    machine: dict[str, str] = {}
    rows: dict[str, Result] = {}


def result(row: Row, rounds: Sequence[Round]) -> Result:
    """Of one row, from all rounds."""
    ours, spread = _middle([taken[row.ours].figures[row.figure] for taken in rounds])
    noise = max(each.noise for taken in rounds for name, each in taken.items() if name in (row.ours, row.peer))
    found = Result(ours=ours, spread=spread, unit=row.unit, rounds=len(rounds), noise=round(noise, 2))
    if row.peer is not None:
        found.peer, found.peer_spread = _middle([taken[row.peer].figures[row.figure] for taken in rounds])
        found.peer_name = row.peer_name
        found.ratio = ours / found.peer
    return found


def _middle(figures: list[float]) -> tuple[float, float]:
    middle, width = median(figures)
    return middle, width / middle


def merged(old: Record, machine: dict[str, str], rows: Mapping[str, Result], order: Sequence[str]) -> Record:
    """The rows of this run, beside those of an earlier one that was made on the same machine with the same versions."""
    known = {**(old.rows if old.machine == machine else {}), **rows}
    return Record(machine, {name: known[name] for name in order if name in known})


def read(path: Path) -> Record:
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else Record()


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
