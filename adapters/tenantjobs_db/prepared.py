"""Statements that are handed to the driver as they are: compiled once, and executed on a connection of the pool.

What SQLAlchemy does each time that it executes one, for any statement and any answer, takes longer than the driver and
the database need for a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import BindParameter, ClauseElement, Dialect, Engine
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


class Prepared:
    """A statement on an engine of which each statement commits by itself."""

    def __init__(self, engine: Engine, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(engine)
        driver: Any = engine.dialect.dbapi
        self._engine = engine
        self._errors: Any = driver.Error
        self._text = str(compiled)
        given = {name: Given.of(name, bind, engine.dialect) for name, bind in compiled.binds.items()}
        self._is_positional = compiled.positiontup is not None
        self._names: list[str] = list(compiled.positiontup or given)
        self._given = [given[name] for name in self._names]

    def execute(self, values: Mapping[str, Any]) -> int:
        """How many rows it has written, with these parameters. ``DBAPIError`` as SQLAlchemy raises it.

        If that has ``connection_invalidated``, all others of the pool are made anew before they are used: they may
        be as dead.
        """
        return self._answered(values, _count)

    def rows(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """What it answers, as the driver has it. The errors are the same."""
        return self._answered(values, _rows)

    def _answered(self, values: Mapping[str, Any], answer: Callable[[Any], T]) -> T:
        parameters = self._parameters(values)

        def answered(connection: Any) -> T:
            cursor = connection.cursor()
            try:
                cursor.execute(self._text, parameters)
                return answer(cursor)
            finally:
                cursor.close()

        return self._on_connection(answered)

    def _on_connection(self, work: Callable[[Any], T]) -> T:
        connection = self._engine.raw_connection()
        try:
            return work(connection)
        except BaseException as error:
            is_lost = self._is_lost(error, connection.driver_connection)
            if isinstance(error, self._errors):
                if is_lost:
                    # As SQLAlchemy itself does. A pool that is disposed of leaves those in use unclosed for ever.
                    self._engine.pool._invalidate(connection, error)
                raise self._as_raised(error, is_lost) from error
            if is_lost:
                connection.invalidate(error)
            raise
        finally:
            connection.close()

    def _parameters(self, values: Mapping[str, Any]) -> Any:
        found = given_among(values, self._given)
        return found if self._is_positional else dict(zip(self._names, found, strict=True))

    def _is_lost(self, error: Any, connection: Any) -> bool:
        if isinstance(error, self._errors):
            return self._engine.dialect.is_disconnect(error, connection, None)
        return not isinstance(error, Exception)  # it was interrupted, and is in whatever state

    def _as_raised(self, error: Any, is_lost: bool) -> BaseException:
        raised: BaseException = DBAPIError.instance(
            self._text,
            None,
            error,
            self._errors,
            hide_parameters=True,
            connection_invalidated=is_lost,
            dialect=self._engine.dialect,
        )
        return raised


def _count(cursor: Any) -> int:
    found: int = cursor.rowcount
    return found


def _rows(cursor: Any) -> Sequence[Any]:
    found: Sequence[Any] = cursor.fetchall()
    return found


class Given(NamedTuple):
    """Where the value of a parameter comes from, and what the driver gets of it."""

    name: str
    default: Any
    source: Callable[[], Any] | None
    processor: Callable[[Any], Any] | None

    @classmethod
    def of(cls, name: str, bind: BindParameter[Any], dialect: Dialect) -> Given:
        return cls(name, bind.value, bind.callable, bind.type.dialect_impl(dialect).bind_processor(dialect))


def given_among(values: Mapping[str, Any], each: Sequence[Given]) -> list[Any]:
    """What the driver gets, in their order."""
    found = []
    for name, default, source, processor in each:  # without a call for each: a job has a dozen of them
        value = values.get(name, default) if source is None else source()
        found.append(value if processor is None else processor(value))
    return found
