"""Everything of a tenant as lines of JSON: a heading, a line for each row, and a manifest that proves the rest.

Jobs are written as people read them: arguments by their names and in clear, and without those that are to be left out.
Who reads a file, ``verify``, needs nothing but the file, and the keys of ``[signing]`` where it is signed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from importlib import import_module
from typing import IO, Any, Protocol, runtime_checkable

import msgspec

from tenantjobs import definition, encryption, links, results, signer
from tenantjobs.envelope import Envelope
from tenantjobs.errors import BrokenExport, EnvelopeError, TenantjobsError
from tenantjobs.view import KeptResult

VERSION = 1
REDACTED = "[redacted]"

# What is told while rows are written: the table, and how many rows of all tables there are by now.
Tell = Callable[[str, int], object]


class Heading(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="tenantjobs export"):
    """The first line."""

    version: int = VERSION
    tenant: str
    at: datetime
    redacted: tuple[str, ...] = ()


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="row"):
    """A row of a table."""

    table: str
    row: dict[str, Any]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="manifest"):
    """The last line: what is above it. ``unreadable`` counts arguments and results that could not be opened."""

    tenant: str
    at: datetime
    rows: dict[str, int]
    unreadable: int = 0
    redacted: tuple[str, ...] = ()
    sha256: str
    signature: str | None = None


class Exports(Protocol):
    """Writes what a queue has of a tenant."""

    def export(
        self, tenant: object, to: IO[bytes], *, redact: Collection[str] = (), tell: Tell | None = None
    ) -> Manifest:
        """Write all of it to a file that is open for bytes; its manifest.

        ``redact`` names arguments, attributes and fields, at any depth, whose values are not to be in there.
        """
        ...


@runtime_checkable
class HasExports(Protocol):
    """A queue whose tenants can be exported."""

    @property
    def exports(self) -> Exports: ...


class Export:
    """A file on its way."""

    def __init__(self, to: IO[bytes], heading: Heading) -> None:
        self._to = to
        self._heading = heading
        self._digest: Any = import_module("hashlib").sha256()
        self._rows: Counter[str] = Counter()
        self._unreadable = 0
        self._names = frozenset(heading.redacted)
        self._write(heading)

    @property
    def count(self) -> int:
        """How many rows there are by now."""
        return self._rows.total()

    def begin(self, table: str) -> None:
        """Rows of this table may follow; it is in the manifest even if there are none."""
        self._rows[table] += 0

    def row(self, table: str, row: Mapping[str, Any]) -> None:
        """Write a row of plain values."""
        self._write(Line(table=table, row=dict(row)))
        self._rows[table] += 1

    def job(self, data: str) -> dict[str, Any]:
        """What an envelope says, to be a value of a row."""
        try:
            return self._readable(Envelope.decode(data))
        except EnvelopeError as error:
            self._unreadable += 1
            return {"unreadable": str(error)}

    def link(self, text: str | None) -> dict[str, Any] | None:
        """The same of a job that is sealed ahead."""
        if text is None:
            return None
        link = links.opened(text)
        return self.job(bytes(link.job).decode()) | {"wait": link.wait}

    def result(self, kept: KeptResult) -> Any:
        """What a job has returned, in clear."""
        try:
            return self._redacted(results.tree(kept))
        except (TenantjobsError, LookupError, ValueError) as error:
            self._unreadable += 1
            return {"unreadable": str(error)}

    def tree(self, text: str) -> Any:
        """What a text of JSON says, without what is to be left out."""
        return self._redacted(msgspec.json.decode(text))

    def end(self) -> Manifest:
        """Write the manifest."""
        digest: str = self._digest.hexdigest()
        manifest = Manifest(
            tenant=self._heading.tenant,
            at=self._heading.at,
            rows=dict(self._rows),
            unreadable=self._unreadable,
            redacted=self._heading.redacted,
            sha256=digest,
        )
        signing = signer.configured()
        if signing is not None:
            manifest = msgspec.structs.replace(manifest, signature=signing.sign("export", _signed(manifest)))
        self._to.write(_encode(manifest) + b"\n")
        return manifest

    def _write(self, line: Heading | Line) -> None:
        text = _encode(line) + b"\n"
        self._digest.update(text)
        self._to.write(text)

    def _readable(self, envelope: Envelope) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": envelope.id,
            "name": envelope.name,
            "context": self._redacted(msgspec.json.decode(envelope.context)),
            **self._arguments(envelope),
            "counters": envelope.counters,
            "keys": envelope.keys,
        }
        if envelope.bookmark is not None:
            told["bookmark"] = self._redacted(msgspec.to_builtins(envelope.bookmark))
        if envelope.chain:
            told["chain"] = [self.link(bytes(link).decode()) for link in envelope.chain]
        return told

    def _arguments(self, envelope: Envelope) -> dict[str, Any]:
        try:
            given, named = _call.decode(encryption.clear(envelope))
        except (TenantjobsError, msgspec.MsgspecError, ValueError) as error:
            self._unreadable += 1
            return {"arguments": None, "unreadable": str(error)}
        job = definition.lookup(envelope.name)
        if job is None:
            # Nobody knows which is which: where some are to be left out, all are.
            told = {f"#{number}": REDACTED if self._names else value for number, value in enumerate(given, 1)}
        else:
            told = dict(job.binding.named(tuple(given)))
        return {"arguments": self._redacted({**told, **named})}

    def _redacted(self, tree: Any) -> Any:
        if not self._names:
            return tree
        if isinstance(tree, list):
            return [self._redacted(value) for value in tree]
        if isinstance(tree, dict):
            return {name: self._left(name, value) for name, value in tree.items()}
        return tree

    def _left(self, name: str, value: Any) -> Any:
        if name.split("[")[0] in self._names:
            return REDACTED
        if name == "$dict" and isinstance(value, list):  # pairs, as of a dict whose keys are not all plain
            return [[key, self._left(key if isinstance(key, str) else "", held)] for key, held in value]
        return self._redacted(value)


def verify(lines: Iterable[bytes]) -> Manifest:
    """The manifest of an export, when everything above it is as it was written; else ``BrokenExport``.

    ``BadSignature`` if this process has keys for signatures, and the manifest was not signed with one of them.
    """
    digest: Any = import_module("hashlib").sha256()
    rows: Counter[str] = Counter()
    heading: Heading | None = None
    manifest: Manifest | None = None
    for number, text in enumerate(lines, 1):
        if manifest is not None:
            raise BrokenExport(f"line {number}: something follows the manifest")
        line = _read(text, number)
        if isinstance(line, Manifest):
            manifest = line
        else:
            digest.update(text)
            if isinstance(line, Heading):
                heading = line
            else:
                rows[line.table] += 1
    if heading is None or manifest is None:
        raise BrokenExport("it does not end in a manifest: the export was not finished, or a part of it is missing")
    if digest.hexdigest() != manifest.sha256:
        raise BrokenExport("its lines are not those that the manifest was written for: they were changed since")
    if {name: count for name, count in manifest.rows.items() if count} != rows or heading.tenant != manifest.tenant:
        raise BrokenExport("the manifest counts other rows than there are")
    signing = signer.configured()
    if signing is not None:
        what = f"the export of tenant {manifest.tenant:.100}"
        signing.verify(manifest.signature, "export", _signed(manifest), what)
    return manifest


def _read(text: bytes, number: int) -> Heading | Line | Manifest:
    try:
        line: Heading | Line | Manifest = _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise BrokenExport(f"line {number} is not of an export: {error}") from error
    if (number == 1) != isinstance(line, Heading):
        raise BrokenExport(f"line {number}: the heading is the first line, and only that")
    return line


def _signed(manifest: Manifest) -> list[bytes]:
    return [_encode(msgspec.structs.replace(manifest, signature=None))]


_encode = msgspec.json.Encoder(order="deterministic").encode
_decoder = msgspec.json.Decoder(Heading | Line | Manifest)
_call = msgspec.json.Decoder(tuple[list[Any], dict[str, Any]])
