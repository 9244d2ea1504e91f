from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from tenantjobs_sqlalchemy.keys import text_of, value_of


class Colour(Enum):
    RED = "r"


class Number(IntEnum):
    ONE = 1


class Point(UserDefinedType[Any]):
    """Says nothing about what it is in Python."""


class Upper(TypeDecorator[str]):
    impl = sa.String
    cache_ok = True


KINDS: list[tuple[TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (sa.Integer(), st.integers()),
    (sa.String(), st.text(min_size=1)),
    (Upper(), st.text(min_size=1)),
    (sa.Uuid(), st.uuids()),
    (sa.Date(), st.dates()),
    (sa.DateTime(), st.datetimes()),
    (sa.Time(), st.times()),
    (sa.Numeric(), st.decimals(allow_nan=False, allow_infinity=False)),
    (sa.LargeBinary(), st.binary(min_size=1)),
    (sa.Boolean(), st.booleans()),
    (sa.Enum(Colour), st.sampled_from(Colour)),
    (sa.Enum(Number), st.sampled_from(Number)),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=lambda each: type(each).__name__)
def test_a_key_comes_back_as_what_the_column_holds(kind: TypeEngine[Any], values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def holds(value: Any) -> None:
        back = value_of(text_of(value), sa.column("id", kind))

        assert back == value
        assert type(back) is type(value)

    holds()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x", sa.Integer()),
        ("007", sa.Integer()),
        ("1_000", sa.Integer()),
        ("x", sa.Uuid()),
        ("{12345678-1234-5678-1234-567812345678}", sa.Uuid()),
        ("yesterday", sa.Date()),
        ("x", sa.Numeric()),
        ("xyz", sa.LargeBinary()),
        ("1", sa.Boolean()),
        ("BLUE", sa.Enum(Colour)),
        ("1", sa.Float()),
        ("1", Point()),
    ],
    ids=str,
)
def test_a_text_that_is_no_key_of_the_column_is_refused(text: str, kind: TypeEngine[Any]) -> None:
    with pytest.raises(ValueError):
        value_of(text, sa.column("id", kind))


@pytest.mark.parametrize("value", [1.5, None, object()])
def test_a_value_without_a_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        text_of(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (UUID("ABCDEF00-0000-0000-0000-000000000001"), "abcdef00-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 3, 8), "2026-03-08"),
        (datetime(2026, 3, 8, 2, 30), "2026-03-08T02:30:00"),  # noqa: DTZ001  # as a column without a zone has it
        (time(2, 30), "02:30:00"),
    ],
)
def test_the_text_is_canonical(value: object, text: str) -> None:
    assert text_of(value) == text
