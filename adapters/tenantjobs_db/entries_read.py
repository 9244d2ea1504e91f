"""How many entries of the index of lines a statement has read, as the server counts it (PostgreSQL).

Time says nothing: on a loaded machine everything takes long. The server counts entries that lead to no row as well.
"""

from __future__ import annotations

# What a connection has read until the server takes note of it for its statistics, which it does about once a second.
ENTRIES_READ = "pg_backend_pid(), pg_stat_get_xact_tuples_returned(CAST('tj_jobs_ready' AS regclass))"


class EntriesRead:
    """Of each of some statements, which may be on any connection."""

    def __init__(self) -> None:
        self._before: dict[int, int] = {}  # by the process of the server

    def since(self, backend: int, count: int | None) -> int:
        """Since the last one on this connection; 0 for the first one there, and where the server does not count."""
        count = count or 0
        before = self._before.get(backend, count)
        self._before[backend] = count
        return count - before if count >= before else count
