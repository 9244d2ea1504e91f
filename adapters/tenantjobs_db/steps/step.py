"""One numbered step of the schema."""

from __future__ import annotations

import msgspec

from tenantjobs_db.steps.table import Table


class Step(msgspec.Struct, frozen=True):
    """What a database needs to get from ``version - 1`` to ``version``."""

    version: int
    summary: str
    tables: tuple[Table, ...]

    def statements(self, dialect: str) -> tuple[str, ...]:
        """Its SQL; each statement may be run again without harm."""
        return tuple(statement for table in self.tables for statement in table.statements(dialect))
