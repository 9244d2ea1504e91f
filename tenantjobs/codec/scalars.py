"""Single values as JSON: those that JSON has no type for become an object with one tag, ``{"$uuid": "..."}``."""

from __future__ import annotations

import math
import re
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from importlib import import_module
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec

Tree: TypeAlias = "bool | int | float | str | list[Tree] | dict[str, Tree] | None"
Moment = TypeVar("Moment", datetime, time)

TAG = "$"
RECORD = "$record"
DEEPEST = 64
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_NOT_FINITE = {"nan": math.nan, "-nan": -math.nan, "inf": math.inf, "-inf": -math.inf}
_MICROSECOND = timedelta(microseconds=1)


class Refused(Exception):
    """A value that cannot travel: what is wrong and what to do, and where in the argument it is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""

    def within(self, step: str) -> None:
        self.path = step + self.path


def write_text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refused(
                f"holds half of a surrogate pair at character {error.start}, which is no text: clean it where it comes "
                "from, or pass bytes"
            ) from None
    return value


def write_int(value: int) -> Tree:
    # Many a JSON reader makes a float of more than 64 bits. Hexadecimal, because int() refuses very long decimals.
    return value if -(2**63) <= value < 2**63 else {"$int": hex(value)}


def write_float(value: float) -> Tree:
    if math.isfinite(value):
        return value
    sign = "-" if math.copysign(1, value) < 0 else ""
    return {"$float": sign + ("nan" if math.isnan(value) else "inf")}


def write_uuid(value: UUID) -> Tree:
    return {"$uuid": str(UUID(int=value.int))}


def _write_datetime(value: datetime) -> Tree:
    return {"$datetime": _write_moment(value)}


def _write_time(value: time) -> Tree:
    return {"$time": _write_moment(value)}


def _write_moment(value: datetime | time) -> Tree:
    """ISO text, or ``[text, fold, zone]`` where the text alone would lose the fold or the zone."""
    if not value.fold and _text_has(value.tzinfo):
        return value.isoformat()
    else:
        return [value.replace(tzinfo=None).isoformat(), value.fold, _write_zone(value.tzinfo)]


def _text_has(zone: tzinfo | None) -> bool:
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        # Python 3.11 reads an offset of less than a second as none.
        return offset.microseconds == 0 and zone.tzname(None) == timezone(offset).tzname(None)
    else:
        return zone is None


def _write_zone(zone: tzinfo | None) -> Tree:
    """The key of a ZoneInfo, or the offset in microseconds and the name of a fixed one."""
    if type(zone) is timezone:
        return [zone.utcoffset(None) // _MICROSECOND, write_text(zone.tzname(None))]
    elif (key := _zone_key(zone)) is not None and _ZONE_KEY.fullmatch(key):
        return key
    elif zone is None:
        return None
    else:
        raise Refused(
            f"has a time zone of type {kind_of(zone)}, which no other process could find by name: use "
            "zoneinfo.ZoneInfo('Area/City') or datetime.timezone"
        )


def _zone_key(zone: tzinfo | None) -> str | None:
    """The name of a ZoneInfo. A process that has one has loaded its module; the others are spared the import."""
    module = sys.modules.get("zoneinfo")
    return getattr(zone, "key", None) if module is not None and type(zone) is module.ZoneInfo else None


def _read_moment(kind: type[Moment], tree: object) -> Moment:
    if isinstance(tree, str):
        return kind.fromisoformat(tree)
    moment, fold, zone = listed(tree, 3)
    return kind.fromisoformat(text(moment)).replace(tzinfo=_read_zone(zone), fold=whole(fold))


def _read_zone(tree: object) -> tzinfo | None:
    if tree is None:
        return None
    elif isinstance(tree, str):
        if not _ZONE_KEY.fullmatch(tree):
            raise ValueError(f"{tree!r} is not the name of a time zone")
        zone: tzinfo = import_module("zoneinfo").ZoneInfo(tree)
        return zone
    else:
        microseconds, name = listed(tree, 2)
        return _fixed(whole(microseconds) * _MICROSECOND, text(name))


def _fixed(offset: timedelta, name: str) -> timezone:
    unnamed = timezone(offset)
    return unnamed if unnamed.tzname(None) == name else timezone(offset, name)


def _read_bytes(tree: object) -> bytes:
    return a2b_base64(text(tree), strict_mode=True)


def _read_timedelta(tree: object) -> timedelta:
    days, seconds, microseconds = listed(tree, 3)
    return timedelta(days=whole(days), seconds=whole(seconds), microseconds=whole(microseconds))


def _read_unset(tree: object) -> object:
    if tree is not None:
        raise ValueError(f"null is wanted here, not {tree!r:.80}")
    return msgspec.UNSET


def text(tree: object) -> str:
    if not isinstance(tree, str):
        raise ValueError(f"a text is wanted here, not {tree!r:.80}")
    return tree


def whole(tree: object) -> int:
    if type(tree) is not int:
        raise ValueError(f"a whole number is wanted here, not {tree!r:.80}")
    return tree


def listed(tree: object, length: int | None = None) -> list[object]:
    if not isinstance(tree, list) or length not in (None, len(tree)):
        raise ValueError(f"a list of {length or 'values'} is wanted here, not {tree!r:.80}")
    return tree


def kind_of(value: object) -> str:
    """The type of a value as error messages name it: ``shop.models.Price``, ``int``."""
    return name_of(type(value))


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


WRITERS: dict[type, Callable[[Any], Tree]] = {
    str: write_text,
    int: write_int,
    bool: lambda value: value,
    type(None): lambda value: value,
    float: write_float,
    bytes: lambda value: {"$bytes": b2a_base64(value, newline=False).decode()},
    datetime: _write_datetime,
    date: lambda value: {"$date": value.isoformat()},
    time: _write_time,
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: write_uuid,
    type(msgspec.UNSET): lambda _: {"$unset": None},
}

READERS: dict[str, Callable[[object], object]] = {
    "$int": lambda tree: int(text(tree), 16),
    "$float": lambda tree: _NOT_FINITE[text(tree)],
    "$bytes": _read_bytes,
    "$datetime": lambda tree: _read_moment(datetime, tree),
    "$date": lambda tree: date.fromisoformat(text(tree)),
    "$time": lambda tree: _read_moment(time, tree),
    "$timedelta": _read_timedelta,
    "$decimal": lambda tree: Decimal(text(tree)),
    "$uuid": lambda tree: UUID(text(tree)),
    "$unset": _read_unset,
}
