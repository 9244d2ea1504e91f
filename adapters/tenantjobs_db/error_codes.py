"""The codes that databases give their errors."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError


def sqlstate(error: DBAPIError) -> object:
    """That of PostgreSQL, five characters."""
    return getattr(error.orig, "sqlstate", None)


def mysql_code(error: DBAPIError) -> int | None:
    """The number that drivers of MySQL put first, where others put something else."""
    code = next(iter(getattr(error.orig, "args", ())), None)
    return code if isinstance(code, int) else None


def sqlite_code(error: DBAPIError) -> int | None:
    """That of SQLite, without details."""
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
