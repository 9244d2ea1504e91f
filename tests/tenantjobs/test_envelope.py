from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import RFC_4122, UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantjobs.envelope import VERSION, Envelope, new_id
from tenantjobs.errors import EnvelopeError, UnknownVersion
from tenantjobs.snapshot import Snapshot

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
ID = "0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"


def envelope(**changes: Any) -> Envelope:
    return msgspec.structs.replace(
        Envelope(
            id=ID,
            name="shop.charge",
            context=msgspec.Raw(b'{"tenant_id":"42"}'),
            arguments=msgspec.Raw(b"[[7],{}]"),
            enqueued_at=NOW,
        ),
        **changes,
    )


FULL = envelope(
    queue="mailers",
    priority=-5,
    due_at=NOW + timedelta(hours=1),
    attempt=2,
    counters={"shop.Timeout": 2},
    keys={"idempotent": "charge:7"},
)


def fields(**changes: object) -> dict[str, object]:
    """The fields of a full envelope as JSON has them; ``...`` leaves one out."""
    return {
        name: value for name, value in {**msgspec.json.decode(FULL.encode()), **changes}.items() if value is not ...
    }


# encode and decode


@pytest.mark.parity("1a.22")
def test_its_scope_is_what_its_context_says() -> None:
    assert envelope().snapshot == Snapshot("42")


@pytest.mark.parametrize("original", [envelope(), FULL])
@pytest.mark.parity("1a.22")
def test_an_envelope_comes_back(original: Envelope) -> None:
    assert Envelope.decode(original.encode()) == original


def test_the_text_of_an_envelope_is_short_and_can_be_read() -> None:
    assert envelope().encode() == (
        b'{"v":1,"id":"0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b","name":"shop.charge","context":{"tenant_id":"42"},'
        b'"arguments":[[7],{}],"enqueued_at":"2024-05-06T07:08:09.123456Z"}'
    )


def test_text_bytes_and_views_are_the_same_envelope() -> None:
    data = FULL.encode()

    assert Envelope.decode(data.decode()) == Envelope.decode(memoryview(data)) == Envelope.decode(data) == FULL


def test_a_buffer_that_is_used_again_does_not_change_the_envelope() -> None:
    buffer = bytearray(FULL.encode())
    decoded = Envelope.decode(memoryview(buffer))
    buffer[:] = b" " * len(buffer)

    assert decoded == FULL


@pytest.mark.parity("1a.22")
def test_context_and_arguments_stay_byte_for_byte_through_a_retry() -> None:
    original = envelope(context=msgspec.Raw(b'{ "tenant_id" :"42"}'), arguments=msgspec.Raw(b'[[1.0, "\\u00e4"],{ }]'))
    retried = msgspec.structs.replace(Envelope.decode(original.encode()), attempt=1, counters={"shop.Timeout": 1})
    again = Envelope.decode(retried.encode())

    assert bytes(again.context) == bytes(original.context)
    assert bytes(again.arguments) == bytes(original.arguments)
    assert (again.attempt, again.counters) == (1, {"shop.Timeout": 1})


def test_a_moment_in_another_zone_is_the_same_moment() -> None:
    data = msgspec.json.encode(fields(enqueued_at="2024-05-06T09:08:09.123456+02:00"))

    assert Envelope.decode(data).enqueued_at == NOW


def test_envelopes_do_not_share_their_counters() -> None:
    envelope().counters["x"] = 1

    assert envelope().counters == {}


@given(
    st.builds(
        envelope,
        id=st.uuids().map(str),
        name=st.text(st.characters(codec="utf-8"), min_size=1),
        queue=st.text(st.characters(codec="utf-8"), min_size=1),
        priority=st.integers(-(2**31), 2**31),
        attempt=st.integers(0, 10**6),
        enqueued_at=st.datetimes(timezones=st.just(UTC)),
        due_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        counters=st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 99)),
        keys=st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
    )
)
def test_any_envelope_comes_back(original: Envelope) -> None:
    assert Envelope.decode(original.encode()) == original


# the context


def test_the_snapshot_and_the_tenant_are_those_of_the_context() -> None:
    decoded = Envelope.decode(envelope().encode())

    assert decoded.snapshot == Snapshot(tenant_id="42")
    assert decoded.tenant_id == "42"


def test_an_empty_context_has_no_tenant() -> None:
    decoded = Envelope.decode(envelope(context=msgspec.Raw(Snapshot().encode())).encode())

    assert decoded.tenant_id is None
    assert not decoded.snapshot


@pytest.mark.parametrize(
    "context",
    [None, 5, [], "42", {"tenant_id": 42}, {"tenant_id": ""}, {"tenant": "42"}, {"tenant_id": "42", "system": "why"}],
)
def test_an_envelope_whose_tenant_cannot_be_read_is_no_envelope(context: object) -> None:
    with pytest.raises(EnvelopeError):
        Envelope.decode(msgspec.json.encode(fields(context=context)))


# what is refused


@pytest.mark.parametrize("version", [0, 2, -1, 2**70])
def test_another_version_is_named_before_anything_else_is_looked_at(version: int) -> None:
    data = msgspec.json.encode({"v": version, "payload": "in a shape to come"})

    with pytest.raises(UnknownVersion, match=f"has version {version}, and this worker knows version {VERSION}"):
        Envelope.decode(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": ...},
        {"v": "1"},
        {"v": None},
        {"v": 1.5},
        {"v": True},
        {"id": ...},
        {"id": ""},
        {"id": 7},
        {"name": ...},
        {"name": ""},
        {"name": None},
        {"queue": ""},
        {"queue": 1},
        {"priority": "1"},
        {"priority": 1.5},
        {"context": ...},
        {"arguments": ...},
        {"enqueued_at": ...},
        {"enqueued_at": "2024-05-06T07:08:09"},
        {"enqueued_at": "yesterday"},
        {"enqueued_at": 0},
        {"due_at": "2024-05-06T07:08:09"},
        {"attempt": -1},
        {"attempt": "1"},
        {"counters": {"a": -1}},
        {"counters": {"a": "1"}},
        {"counters": []},
        {"keys": {"a": 1}},
        {"signature": "unknown"},
    ],
)
def test_a_field_that_is_missing_unknown_or_wrong_is_an_envelope_error(changes: dict[str, object]) -> None:
    with pytest.raises(EnvelopeError) as raised:
        Envelope.decode(msgspec.json.encode(fields(**changes)))

    assert raised.type is EnvelopeError


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"1",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"v":1,"arguments":' + b"[" * 100_000,
        FULL.encode() + b"{}",
        FULL.encode()[:-1],
        b"gAAAAABencrypted",
        "\ud800",
        None,
        7,
    ],
)
def test_what_is_no_envelope_is_an_envelope_error(data: Any) -> None:
    with pytest.raises(EnvelopeError, match="not an envelope"):
        Envelope.decode(data)


def test_the_error_shows_only_the_start_of_what_came() -> None:
    with pytest.raises(EnvelopeError) as raised:
        Envelope.decode(b"x" * 10_000)

    assert len(str(raised.value)) < 300


def decode_or_envelope_error(data: Any) -> None:
    try:
        decoded = Envelope.decode(data)
    except EnvelopeError:
        return

    assert decoded.id
    assert decoded.name
    assert decoded.snapshot.scope in ("tenant", "system", "unset")
    assert Envelope.decode(decoded.encode()) == decoded


@given(st.binary() | st.text(st.characters(exclude_categories=())))
def test_any_data_is_an_envelope_or_an_envelope_error(data: bytes | str) -> None:
    decode_or_envelope_error(data)


def test_an_envelope_that_is_cut_off_anywhere_is_an_envelope_error() -> None:
    data = FULL.encode()
    for end in range(len(data)):
        with pytest.raises(EnvelopeError):
            Envelope.decode(data[:end])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(FULL.encode()) - 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_an_envelope_with_flipped_bits_is_one_or_an_envelope_error(flips: list[tuple[int, int]]) -> None:
    data = bytearray(FULL.encode())
    for at, bits in flips:
        data[at] ^= bits
    decode_or_envelope_error(bytes(data))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("a42-:$TZ"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a42$"), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*fields(), "other"]), json, max_size=3))
def test_an_envelope_with_other_fields_is_one_or_an_envelope_error(changes: dict[str, object]) -> None:
    decode_or_envelope_error(msgspec.json.encode(fields(**changes)))


# ids


def test_an_id_is_a_uuid_of_version_7_and_of_now() -> None:
    before = time.time_ns() // 1_000_000
    new = UUID(new_id())
    after = time.time_ns() // 1_000_000

    assert (new.version, new.variant) == (7, RFC_4122)
    assert before <= (new.int >> 80) <= after + 1
    assert str(new) == str(new).lower()


def test_ids_grow_also_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(20_000)]

    assert ids == sorted(set(ids))


def test_ids_grow_also_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)
    ids = [first, *(new_id() for _ in range(100))]

    assert ids == sorted(set(ids))
    assert all(UUID(each).version == 7 for each in ids)


def test_ids_made_by_several_threads_are_all_different_and_grow_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(mine: list[str]) -> None:
        mine.extend(new_id() for _ in range(3_000))

    threads = [Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(mine == sorted(mine) for mine in made)
    assert len({each for mine in made for each in mine}) == 12_000


FORKING = """
import os, time
from tenantjobs import envelope

now = time.time_ns()
time.time_ns = lambda: now
envelope.new_id()
envelope._ids._lock.acquire()  # another thread was in the middle of it
children = []
for _ in range(3):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, " ".join(envelope.new_id() for _ in range(5)).encode())
        os._exit(0)
    os.wait()
    children.append(os.read(read, 4096).decode())
envelope._ids._lock.release()
print(*children, *(envelope.new_id() for _ in range(5)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_ids_of_forked_children_differ_from_their_parents_and_each_other() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=True)
    ids = done.stdout.split()

    assert len(ids) == len(set(ids)) == 20
    # Not even counted on from one common start: the upper random bits differ.
    assert len({each[15:23] for each in ids}) == 4
