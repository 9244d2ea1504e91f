"""What our databases have of a tenant, written to a file as it is at one moment of each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any

from sqlalchemy import Connection, select

from tenantjobs import clock
from tenantjobs.current import Current
from tenantjobs.exporting import Export, Heading, Manifest, Tell
from tenantjobs.identity import canonical_id
from tenantjobs.membership import CALLBACKS
from tenantjobs.view import KeptResult
from tenantjobs_db.belongings import BELONGINGS, Belonging
from tenantjobs_db.database import Database
from tenantjobs_db.refusing import saying_what_is_missing
from tenantjobs_db.tables import FINISHED, batches, bookmarks, jobs, outbox, results

AT_ONCE = 500  # rows that are fetched together
TOLD = 1000  # rows from one word about them to the next

Row = dict[str, Any]


class Exporting:
    """From the queue's database and then from that of an outbox elsewhere, each under its name."""

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self._databases = databases

    def export(
        self, tenant: object, to: IO[bytes], *, redact: Collection[str] = (), tell: Tell | None = None
    ) -> Manifest:
        """Write all of it to a file that is open for bytes; its manifest.

        ``redact`` names arguments, attributes and fields, at any depth, whose values are not to be in there. The rows
        are read in one transaction of each database, and keep nobody from writing.
        """
        name = canonical_id(tenant)
        # A keyring may ask whose keys it is to give.
        with saying_what_is_missing(), Current.set(tenant_id=name):
            export = Export(to, Heading(tenant=name, at=clock.now(), redacted=tuple(sorted(set(redact)))))
            for place, database in self._databases.items():
                with database.still() as connection:
                    for belonging in BELONGINGS:
                        _write(export, connection, belonging, name, f"{place}." if place else "", tell)
            return export.end()


def _write(
    export: Export, connection: Connection, belonging: Belonging, tenant: str, place: str, tell: Tell | None
) -> None:
    name, write = place + belonging.name, WRITTEN.get(belonging.name)
    export.begin(name)
    for row in _rows(connection, belonging, tenant):
        export.row(name, row if write is None else write(export, row))
        if tell is not None and export.count % TOLD == 0:
            tell(name, export.count)


def _rows(connection: Connection, belonging: Belonging, tenant: str) -> Iterator[Row]:
    found = select(belonging.table).where(belonging.of(tenant)).order_by(*belonging.key)
    with connection.execute(found.execution_options(yield_per=AT_ONCE)) as result:
        for row in result.mappings():
            yield {str(name): value for name, value in row.items()}


def _job(export: Export, row: Row) -> Row:
    """The envelope has the arguments as they travel, perhaps encrypted: it is written as what it says."""
    return {name: value for name, value in row.items() if name != "data"} | {"job": export.job(row["data"])}


def _result(export: Export, row: Row) -> Row:
    kept = KeptResult(
        id=row["job_id"], name=row["name"], tenant_id=row["tenant"] or None, state=FINISHED, text=row["result"]
    )
    return row | {"result": export.result(kept)}


def _batch(export: Export, row: Row) -> Row:
    callbacks = {name: export.link(row[name]) for name in CALLBACKS}
    return row | callbacks | {"properties": export.tree(row["properties"])}


def _bookmark(export: Export, row: Row) -> Row:
    return row | {"bookmark": export.tree(row["bookmark"])}


WRITTEN: Mapping[str, Callable[[Export, Row], Row]] = {
    str(jobs.name): _job,
    str(outbox.name): _job,
    str(results.name): _result,
    str(batches.name): _batch,
    str(bookmarks.name): _bookmark,
}
