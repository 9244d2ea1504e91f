"""Primary keys as text, and back to what the column holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def text_of(value: object) -> str:
    """The one text of a key's value. ``ValueError`` for a type that has no such text."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, str | int | Decimal | UUID):
        return str(value)
    raise ValueError(f"a key of type {type(value).__name__} has no text that a job could carry")


def value_of(text: str, column: ColumnElement[Any]) -> Any:
    """The value that ``text_of`` made this text of. ``ValueError`` if the column never held one."""
    kind = _kind(column)
    if issubclass(kind, Enum):
        return _member(text, kind)
    parse = _PARSERS.get(kind)
    if parse is None:
        raise ValueError(f"a key of type {kind.__name__} cannot be made of a text")
    value = parse(text)
    if text_of(value) != text:
        raise ValueError(f"{text!r} would be written {text_of(value)!r}")
    return value


def _kind(column: ColumnElement[Any]) -> type:
    kind: TypeEngine[Any] = column.type
    if isinstance(kind, TypeDecorator) and _python_type(kind) is object:
        kind = kind.impl_instance  # it does not say; most of them have the values of what they decorate
    found = _python_type(kind)
    if found is object:
        raise ValueError(f"the type {kind!r} does not say what it holds in Python")
    return found


def _python_type(kind: TypeEngine[Any]) -> type:
    try:
        return kind.python_type
    except NotImplementedError:  # so says SQLAlchemy 2.0, where 2.1 says object
        return object


def _member(text: str, kind: type[Enum]) -> Enum:
    try:
        return kind[text]
    except KeyError:
        raise ValueError(f"{kind.__name__} has no member {text!r}") from None


def _truth(text: str) -> bool:
    return {"true": True, "false": False}.get(text, text == "1")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{text!r} is no decimal number") from None


_PARSERS: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    bool: _truth,
    bytes: bytes.fromhex,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
    time: time.fromisoformat,
    Decimal: _decimal,
    UUID: UUID,
}
