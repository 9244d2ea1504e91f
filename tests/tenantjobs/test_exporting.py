"""The file of an export shows whether it is whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tenantjobs import BrokenExport
from tenantjobs.exporting import Export, Heading, verify


def written() -> bytes:
    file = io.BytesIO()
    export = Export(file, Heading(tenant="acme", at=datetime(2026, 3, 8, tzinfo=UTC)))
    for table, count in (("tj_jobs", 1), ("tj_locks", 0)):
        export.begin(table)
        for _ in range(count):
            export.row(table, {"id": "7", "address": "ann@acme.example"})
    export.end()
    return file.getvalue()


def lines(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def test_a_whole_export_has_a_manifest_of_its_rows() -> None:
    manifest = verify(lines(written()))

    assert (manifest.tenant, manifest.rows) == ("acme", {"tj_jobs": 1, "tj_locks": 0})
    assert (manifest.signature, len(manifest.sha256)) == (None, 64)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace(b"ann@", b"eve@"), "they were changed since"),
        (lambda text: b"".join(lines(text)[:-1]), "does not end in a manifest"),
        (lambda text: text + lines(text)[1], "something follows the manifest"),
        (lambda text: b"".join(lines(text)[1:]), "the heading is the first line"),
        (lambda text: text.replace(b'"tj_jobs":1', b'"tj_jobs":2'), "counts other rows"),
        (lambda text: b"nonsense\n" + text, "line 1 is not of an export"),
        (lambda _text: b"", "does not end in a manifest"),
    ],
)
def test_an_export_that_was_changed_is_not_whole(change: Callable[[bytes], bytes], told: str) -> None:
    with pytest.raises(BrokenExport, match=told):
        verify(lines(change(written())))
