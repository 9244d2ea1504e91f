"""Arrays as parameters of PostgreSQL.

They are sent as its own notation for them, written here: the driver would ask of each text whether it has to be quoted,
and quote it, by regular expressions, which cost more than all else that it takes to enqueue a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BindParameter, ColumnElement, Text, cast
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class Array(TypeDecorator[Sequence[Any]]):
    """Values of one ``kind``, of which any may be None."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: TypeEngine[Any]) -> None:
        super().__init__()
        self.kind = kind

    def bind_expression(self, bindparam: BindParameter[Sequence[Any]]) -> ColumnElement[Any]:
        return cast(bindparam, ARRAY(self.kind))

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else literal(value)


NONE = "{}"


def literal(values: Sequence[Any]) -> str:
    """The array of these values, of which any may be None."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {str}:
        # All at once: between two of them is what no text of PostgreSQL has in it.
        together = "\0".join(values)
        if together.count("\0") == len(values) - 1:
            return '{"' + together.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int | datetime | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value) if isinstance(value, int) else '"' + value.isoformat() + '"'
