"""How many entries of the index of lines are read, as the server counts it (PostgreSQL).

Time says nothing: on a loaded machine everything takes long. The server counts entries that lead to no row as well. It
begins anew whenever it has taken note of them for its statistics, between two transactions and about once a second: so
what is compared are two counts of one statement, or of one transaction.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

ENTRIES_READ = "coalesce(pg_stat_get_xact_tuples_returned(CAST('tj_jobs_ready' AS regclass)), 0)"


def entries_read(connection: Connection) -> int:
    """In the transaction of ``connection`` and some before it."""
    count: int = connection.execute(_ENTRIES_READ).scalar_one()
    return count


_ENTRIES_READ = text(f"SELECT {ENTRIES_READ}")
