"""The databases that the queue speaks to, a module for each."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tenantjobs.errors import ConfigurationError
from tenantjobs_db.dialect import Dialect

# As SQLAlchemy calls them, and the class in the module. It is loaded when it is asked for, since it brings its part of
# SQLAlchemy with it.
DIALECTS = {
    "mariadb": "mysql.MySQL",
    "mysql": "mysql.MySQL",
    "postgresql": "postgresql.PostgreSQL",
    "sqlite": "sqlite.SQLite",
}


def dialect_of(name: str) -> Dialect:
    """The dialect called ``name``; ConfigurationError for a database that the queue does not speak to."""
    try:
        module, _, dialect = DIALECTS[name].partition(".")
    except KeyError:
        raise ConfigurationError(
            f"tenantjobs_db has no dialect for {name!r}; it speaks {', '.join(sorted(DIALECTS))}"
        ) from None
    return cast(Dialect, getattr(import_module(f"{__name__}.{module}"), dialect)())
