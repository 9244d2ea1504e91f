"""The column types whose storage differs between databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DATETIME, DOUBLE, DateTime, Float, String, Text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

# Types of MySQL in words of all databases: its own would load SQLAlchemy's part for it wherever the tables are known.
MYSQL = ("mysql", "mariadb")
LONGEST = 2**32 - 1  # bytes of a text, for which it takes its LONGTEXT


def _compared_by_bytes(length: int) -> TypeEngine[str]:
    """Text that is compared byte by byte: the turns of the tenants are an order that Python repeats (claiming.py).

    MySQL wants a length for what it is to index, and its tables have such a collation as a whole.
    """
    return Text().with_variant(Text(collation="C"), "postgresql").with_variant(String(length), *MYSQL)


Id = _compared_by_bytes(128)
Name = _compared_by_bytes(255)
Word = _compared_by_bytes(32)
LongText = Text().with_variant(Text(LONGEST), *MYSQL)
Real = Float().with_variant(DOUBLE(asdecimal=False), *MYSQL)


class _Microseconds(DATETIME):
    fsp = 6  # Without being told, MySQL keeps whole seconds.


class Moment(TypeDecorator[datetime]):
    """An instant: aware and UTC in Python, with a time zone where the database knows one, UTC without one elsewhere."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(_Microseconds() if dialect.name in MYSQL else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


MOMENT: TypeEngine[datetime] = Moment()
