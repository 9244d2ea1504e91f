"""What a supervisor tells a process that it starts."""

from __future__ import annotations

import msgspec

from tenantjobs_db.plan import Post, WorkerPlan


def name_of(supervisor: str, number: int) -> str:
    """The id of the process that is a supervisor's so many-th: it says whose, and stands behind it in the order."""
    return f"{supervisor}.{number}"


def supervisor_of(process: str) -> str | None:
    """The id of who supervises it; None if nobody does."""
    supervisor, dot, _ = process.rpartition(".")
    return supervisor if dot else None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """``process`` is the id to register under, ``line`` the file descriptor of the line to the supervisor."""

    process: str
    line: int
    shutdown_timeout: float
    post: Post

    @property
    def words(self) -> tuple[str, ...]:
        """What it is to be, in a few words."""
        return (self.post.kind, ",".join(self.post.names)) if isinstance(self.post, WorkerPlan) else (self.post.kind,)

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def decode(text: str) -> Assignment:
        return msgspec.json.decode(text, type=Assignment)
