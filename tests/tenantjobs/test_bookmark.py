from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tenantjobs.bookmark import Bookmark, freeze, thaw
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ArgumentError, EnvelopeError, SerializationError


class Level(Enum):
    LOW = 1


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    "value", [0, -1, 2**70, 1.5, "", "$record", None, True, b"\x00", (1, "a"), [], {}, {"$a": 1}, {1: 2}, {3}]
)
def test_a_plain_value_comes_back_as_it_was(value: object) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(freeze(value, "the cursor")))

    assert thaw(sent, "the cursor") == value


@pytest.mark.parametrize("value", [date(2026, 1, 2), Decimal("1.10"), UUID(int=7)])
def test_so_does_a_date_a_number_and_an_id(value: object) -> None:
    assert thaw(freeze(value, "the cursor"), "the cursor") == value


@pytest.mark.parametrize("value", [Level.LOW, Point(1), [Point(1)], {"at": (1, Level.LOW)}])
def test_an_object_of_a_class_is_refused(value: object) -> None:
    with pytest.raises(SerializationError, match="a cursor is a plain value"):
        freeze(value, "the cursor")


@pytest.mark.parametrize(
    "forged",
    [
        {"$record": "gid://shop/Order/1"},
        [{"$dataclass": [f"{__name__}.Point", {"x": 1}]}],
        {"$tuple": [{"$enum": [f"{__name__}.Level", "LOW"]}]},
    ],
)
def test_what_somebody_else_has_put_there_builds_nothing(forged: Any) -> None:
    with pytest.raises(ArgumentError, match="no plain value"):
        thaw(forged, "the cursor")


def test_a_bookmark_is_small_where_there_is_little_to_say() -> None:
    assert msgspec.json.encode(Bookmark()) == b"{}"
    assert msgspec.json.encode(Bookmark(("a",), step="b", cursor=None)) == b'{"done":["a"],"step":"b","cursor":null}'


@pytest.mark.parametrize("wrong", [b"3", b'{"done":3}', b'{"resumptions":-1}', b'{"other":1}'])
def test_an_envelope_with_something_else_in_its_place_is_none(wrong: bytes) -> None:
    start = b'{"v":1,"id":"1","name":"n","context":{},"arguments":[[],{}],"enqueued_at":"2026-01-01T00:00:00Z"'
    Envelope.decode(start + b',"bookmark":{}}')

    with pytest.raises(EnvelopeError):
        Envelope.decode(start + b',"bookmark":' + wrong + b"}")
