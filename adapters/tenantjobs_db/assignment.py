"""What a supervisor tells a process that it starts."""

from __future__ import annotations

import msgspec

from tenantjobs_db.plan import Post


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """``process`` is the id to register under, ``line`` the file descriptor of the line to the supervisor."""

    process: str
    supervisor: str
    line: int
    shutdown_timeout: float
    post: Post

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def decode(text: str) -> Assignment:
        return msgspec.json.decode(text, type=Assignment)
