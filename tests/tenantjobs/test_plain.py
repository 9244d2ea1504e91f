from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tenantjobs.errors import ArgumentError, SerializationError
from tenantjobs.plain import freeze, thaw


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
    with pytest.raises(SerializationError, match="a plain value is wanted"):
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
