"""A tenant is exported: all that is here of it, as people read it, in a file that shows whether it is whole."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from tenantjobs import BadSignature, Current, batch, chain, job, testing
from tenantjobs.exporting import verify
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.belongings import BELONGINGS
from tenantjobs_db.tables import jobs


def written(adapter: DatabaseAdapter, tenant: str, **options: Any) -> bytes:
    file = io.BytesIO()
    adapter.exports.export(tenant, file, **options)
    return file.getvalue()


def rows(text: bytes, table: str) -> list[dict[str, Any]]:
    lines = [msgspec.json.decode(line) for line in text.splitlines()]
    return [line["row"] for line in lines if line.get("table") == table]


def signed() -> Any:
    return testing.override(signing={"keys": [f"k1:{'x' * 32}"]})


@pytest.fixture
def write_to(adapter: DatabaseAdapter) -> Any:
    @job(name="write_to")
    def write_to(address: str, card: dict[str, Any] | None = None, *, copies: int = 1) -> None:
        if address == "nowhere":
            raise ValueError("no such address")

    return write_to


def test_everything_of_a_tenant_is_written_and_nothing_of_others(adapter: DatabaseAdapter, write_to: Any) -> None:
    with Current.set(tenant_id="acme"):
        write_to.perform_later("ann@acme.example", {"number": "4711"}, copies=2)
        write_to.perform_later("nowhere")
        with batch(on_success=write_to.call("boss@acme.example"), properties={"kind": "mail"}):
            chain(write_to.call("bob@acme.example"), write_to.call("cy@acme.example")).perform_later()
    with Current.set(tenant_id="globex"):
        write_to.perform_later("secret@globex.example")
    with Current.set(tenant_id="acme"):
        before = written(adapter, "acme")
    assert b"globex" not in before

    ann, _, bob = rows(before, "tj_jobs")
    assert ann["job"]["arguments"] == {"address": "ann@acme.example", "card": {"number": "4711"}, "copies": 2}
    assert (ann["state"], ann["tenant"], ann["job"]["context"]) == ("ready", "acme", {"tenant_id": "acme"})
    assert bob["job"]["chain"][0]["arguments"] == {"address": "cy@acme.example"}
    (made,) = rows(before, "tj_batches")
    assert (made["properties"], made["on_success"]["arguments"]) == ({"kind": "mail"}, {"address": "boss@acme.example"})
    assert len(rows(before, "tj_batch_jobs")) == 2

    testing.drain()
    after = written(adapter, "acme")
    (failure,) = rows(after, "tj_failures")
    assert failure["message"] == "no such address"
    manifest = verify(after.splitlines(keepends=True))
    assert set(manifest.rows) == {belonging.name for belonging in BELONGINGS}
    assert (manifest.tenant, manifest.rows["tj_jobs"], manifest.unreadable) == ("acme", 5, 0)


def test_what_is_not_to_be_seen_is_left_out_at_any_depth(adapter: DatabaseAdapter, write_to: Any) -> None:
    with Current.set(tenant_id="acme"):
        write_to.perform_later("ann@acme.example", {"number": "4711", 7: {"number": "4712"}, "owner": "Ann"})

    text = written(adapter, "acme", redact=["address", "number"])

    assert b"ann@" not in text
    assert b"471" not in text
    assert b"Ann" in text
    assert verify(text.splitlines(keepends=True)).redacted == ("address", "number")


def test_of_a_job_that_is_not_known_all_arguments_are_left_out_where_some_are(
    adapter: DatabaseAdapter, write_to: Any, registry: dict[str, Any]
) -> None:
    with Current.set(tenant_id="acme"):
        write_to.perform_later("ann@acme.example", copies=3)
    del registry["write_to"]

    (shown,) = rows(written(adapter, "acme"), "tj_jobs")
    (hidden,) = rows(written(adapter, "acme", redact=["address"]), "tj_jobs")

    assert shown["job"]["arguments"] == {"#1": "ann@acme.example", "copies": 3}
    assert hidden["job"]["arguments"] == {"#1": "[redacted]", "copies": 3}


def test_encrypted_arguments_are_written_in_clear_where_the_key_is(adapter: DatabaseAdapter, write_to: Any) -> None:
    keys = {"acme": bytes(32)}
    with testing.override(encryption={"keys": lambda tenant: keys[tenant]}):
        with Current.set(tenant_id="acme"):
            write_to.perform_later("ann@acme.example")
        assert b"ann@acme.example" in written(adapter, "acme")
        keys.clear()
        without = written(adapter, "acme")

    assert verify(without.splitlines(keepends=True)).unreadable == 1
    (found,) = rows(without, "tj_jobs")
    assert found["job"]["arguments"] is None
    assert "tenant acme" in found["job"]["unreadable"]


def test_a_job_that_is_no_envelope_does_not_stop_an_export(adapter: DatabaseAdapter, write_to: Any) -> None:
    with Current.set(tenant_id="acme"):
        write_to.perform_later("ann@acme.example")
    with adapter.database.begin() as connection:
        connection.execute(update(jobs).values(data="{}"))

    text = written(adapter, "acme")

    assert verify(text.splitlines(keepends=True)).unreadable == 1
    assert "not an envelope" in rows(text, "tj_jobs")[0]["job"]["unreadable"]


def test_a_manifest_is_signed_where_there_are_keys(adapter: DatabaseAdapter, write_to: Any) -> None:
    unsigned = written(adapter, "acme")
    with signed():
        text = written(adapter, "acme")
        assert verify(text.splitlines(keepends=True)).signature is not None
        with pytest.raises(BadSignature, match="the export of tenant acme is not signed"):
            verify(unsigned.splitlines(keepends=True))
        with pytest.raises(BadSignature, match="was not signed with our key 'k1' as it is"):
            verify(text.replace(b'"unreadable":0', b'"unreadable":3').splitlines(keepends=True))
    assert verify(text.splitlines(keepends=True)).tenant == "acme"  # whoever has no keys sees that it is whole


def test_an_export_keeps_nobody_from_writing_and_sees_nothing_of_it(adapter: DatabaseAdapter, write_to: Any) -> None:
    with Current.set(tenant_id="acme"):
        for number in range(3):
            write_to.perform_later(f"{number}@acme.example")

    class File(io.BytesIO):
        def write(self, text: Any) -> int:
            if b"0@acme" in text:
                write_to.perform_later("late@acme.example")
            return super().write(text)

    file = File()
    with Current.set(tenant_id="acme"):
        assert adapter.exports.export("acme", file).rows["tj_jobs"] == 3
    assert adapter.queue.counts() == {"ready": 4}
