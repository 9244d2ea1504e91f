"""The column types whose storage differs between databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Float, String, Text
from sqlalchemy.dialects.mysql import DATETIME, DOUBLE, LONGTEXT
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

MYSQL = ("mysql", "mariadb")


def _compared_by_bytes(length: int) -> TypeEngine[str]:
    """Text that is compared byte by byte: the turns of the tenants are an order that Python repeats (claiming.py).

    MySQL wants a length for what it is to index, and its tables have such a collation as a whole.
    """
    return Text().with_variant(Text(collation="C"), "postgresql").with_variant(String(length), *MYSQL)


Id = _compared_by_bytes(128)
Name = _compared_by_bytes(255)
Word = _compared_by_bytes(32)
LongText = Text().with_variant(LONGTEXT(), *MYSQL)
Real = Float().with_variant(DOUBLE(asdecimal=False), *MYSQL)


class Moment(TypeDecorator[datetime]):
    """An instant: aware and UTC in Python, with a time zone where the database knows one, UTC without one elsewhere."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Without being told, MySQL keeps whole seconds.
        return dialect.type_descriptor(DATETIME(fsp=6) if dialect.name in MYSQL else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
