"""Foreign keys to tenants' rows: they lead to rows of the tenant."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.orm import Session


def check(session: Session, connection: Connection, table: Table, context: Any) -> None:
    pass
