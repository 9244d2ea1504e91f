"""A row in words: for the terminal and for the page."""

from __future__ import annotations

from tests.benchmarks.speed.results import Result
from tests.benchmarks.speed.rows import Bound, Row

MET, MISSED, UNKNOWN = "met", "MISSED", ""
TIMES = "\N{MULTIPLICATION SIGN}"


def verdict(row: Row, found: Result | None, bound: Bound | None) -> str:
    """Whether the bound is met."""
    if found is None or bound is None:
        return UNKNOWN
    good = bound.met(found.ours, found.ratio, more_is_better=row.more_is_better)
    return UNKNOWN if good is None else MET if good else MISSED


def figure(value: float | None, spread: float | None, unit: str) -> str:
    """With how wide the middle half of the rounds is around it."""
    if value is None:
        return ""
    return f"{_number(value, unit)} ± {50 * (spread or 0):.0f} %"


def peer(row: Row, found: Result) -> str:
    return f"{found.peer_name} {figure(found.peer, found.peer_spread, row.unit)}" if found.peer_name else ""


def ratio(found: Result) -> str:
    return "" if found.ratio is None else f"{found.ratio:.2f} {TIMES}"


def bound(row: Row, wanted: Bound | None) -> str:
    if wanted is None:
        return ""
    sign = "≥" if row.more_is_better else "≤"
    value = f"{wanted.value:g} {TIMES}" if wanted.ratio else _number(wanted.value, row.unit, exact=True)
    return f"{sign} {value}"


def _number(value: float, unit: str, *, exact: bool = False) -> str:
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value:g} {unit}" if exact else f"{value:,.1f} {unit}"
