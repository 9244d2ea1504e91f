"""A schema for each tenant, in one database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, event, func, select
from sqlalchemy.orm import SessionTransaction

from tenantjobs_sqlalchemy.places import PlacedSession


class TenantSchemas:
    """Sessions whose tables are those of the tenant's schema: ``schema_of`` makes its name of the tenant's id.

    Give the ``session_class`` to a sessionmaker, or as ``sync_session_class`` to an async one::

        schemas = TenantSchemas(lambda tenant_id: f"tenant_{tenant_id}")
        Session = sessionmaker(engine, class_=schemas.session_class)

    On PostgreSQL it sets ``search_path`` for the transaction, so that textual SQL is there too; ``shared`` are schemas
    that follow the tenant's. Elsewhere it maps tables that name no schema, and textual SQL is not seen.
    """

    def __init__(self, schema_of: Callable[[str], str], *, shared: Sequence[str] = ()) -> None:
        self._schema_of = schema_of
        self._shared = tuple(shared)

        class SchemaSession(PlacedSession):
            pass

        event.listen(SchemaSession, "after_begin", self._enter)
        self.session_class: type[PlacedSession] = SchemaSession

    def _enter(self, session: Any, transaction: SessionTransaction, connection: Connection) -> None:
        if transaction.nested:
            return
        schema = self._schema_of(session.require_place())
        if not schema:
            raise ValueError(f"the schema of a tenant needs a name, not {schema!r}")
        if connection.dialect.name == "postgresql":
            quote = connection.dialect.identifier_preparer.quote_identifier
            path = ", ".join(quote(name) for name in (schema, *self._shared))
            connection.execute(select(func.set_config("search_path", path, True)))
        else:
            connection.execution_options(schema_translate_map={None: schema})
