"""What comes off a queue may be anything. TENANTJOBS_STRESS=100000 makes it that many changed inputs for each test."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tenantjobs import Current, adapter, carriage, encryption, job, retry_on, testing
from tenantjobs.arguments import thaw
from tenantjobs.carriage import Unreadable
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ArgumentError, EnvelopeError, Undecipherable
from tenantjobs.execution import execute
from tenantjobs.idempotency import idempotent
from tenantjobs.message import Message
from tenantjobs.outcome import Finished, Quarantined
from tenantjobs.seal import opened, sealed

INPUTS = int(os.environ.get("TENANTJOBS_STRESS", "3000"))
OURS, OTHER = "2026-11:a new secret, in use", "2026-11:as long, and of somebody else"

ran: list[object] = []


@job(name="fuzz.note", policies=[retry_on(ConnectionError), idempotent(key=lambda *given, **named: "one")])
def note(*given: object, **named: object) -> None:
    ran.append((Current.tenant_id, given, named))


# What parsers stumble over: depth, size, numbers, halves of characters, types in each other's place, our own marks.
TOKENS = [
    *(
        b"[" * 2000,
        b"{" * 50,
        b'{"$":' * 500,
        b"]" * 9,
        b'"',
        b"\\",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"\xff",
        b"\x00",
        b"",
    ),
    *(b"null", b"true", b"-0", b"1e999", b"-1e-999", b"9" * 400, b"NaN", b"Infinity", b"0.1", b"{}", b"[]", b'""'),
    *(b'"v":2', b'"v":1', b'"sig":"', b'"id":""', b'"name":"os.system"', b'"tenant_id":"globex"', b'"system":"x"'),
    *(b'{"$":"dt"}', b'{"$":"enum","t":"os:system"}', b'{"__type__":"bytes"}', b'{"py/object":"os.system"}'),
    *(b'"gid://app/Model/1"', b"9999-12-31T23:59:59.999999Z", b"0000-00-00T00:00:00Z", b"+99:99", b"\xef\xbb\xbf"),
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**200,
    1e308,
    "",
    "\u0000",
    "x" * 5000,
    [],
    {},
    [[]],
    {"$": "dt"},
    {"": []},
]


class Mutator:
    """Changes texts in ways that can be repeated."""

    def __init__(self, seed: int, *originals: bytes) -> None:
        self.chance = random.Random(seed)
        self.originals = originals

    def changed(self) -> bytes:
        """One of the originals, changed somewhere; never as it was."""
        original = self.chance.choice(self.originals)
        data = original
        while data in self.originals:
            for _ in range(self.chance.choice((1, 1, 1, 2, 3, 8))):
                data = self.chance.choice(self._ways)(data)
        return data

    @property
    def _ways(self) -> list[Callable[[bytes], bytes]]:
        return [self._flip, self._cut, self._end, self._twice, self._insert, self._noise, self._splice, self._value]

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\x00"
        place = self.chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << self.chance.randrange(8)]) + data[place + 1 :]

    def _cut(self, data: bytes) -> bytes:
        start, end = self._piece(data)
        return data[:start] + data[end:]

    def _end(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _twice(self, data: bytes) -> bytes:
        start, end = self._piece(data)
        return data[:end] + data[start:end] + data[end:]

    def _insert(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.chance.choice(TOKENS) + data[place:]

    def _noise(self, data: bytes) -> bytes:
        start, end = self._piece(data)
        return data[:start] + self.chance.randbytes(min(end - start, 40)) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        return data[: self._place(data)] + (other := self.chance.choice(self.originals))[self._place(other) :]

    def _value(self, data: bytes) -> bytes:
        """Another value somewhere in the tree, or another name."""
        try:
            tree = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # of older versions of msgspec
            return self._flip(data)
        at = tree
        while isinstance(at, (dict, list)) and at:
            key: Any = self.chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if isinstance(at[key], (dict, list)) and at[key] and self.chance.random() < 0.6:
                at = at[key]
            elif isinstance(at, dict) and self.chance.random() < 0.3:
                at[str(self.chance.choice(VALUES))] = at.pop(key)
                break
            else:
                at[key] = self.chance.choice(VALUES)
                break
        try:
            return msgspec.json.encode(tree)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return self._flip(data)

    def _place(self, data: bytes) -> int:
        return self.chance.randint(0, len(data))

    def _piece(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self.chance.choice((1, 2, 8, 40)))


@pytest.fixture(autouse=True)
def signed_with_a_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ran.clear()
    monkeypatch.setattr(logging.getLogger("tenantjobs.execution"), "disabled", True)  # a line for each input
    with testing.override(adapter="test", signing={"keys": [OURS], "remember": 0}):
        yield


def enqueued(*given: Any, tenant: str = "acme", **options: Any) -> bytes:
    with Current.set(tenant_id=tenant):
        return Message(note.set(**options).call(*given), adapter.configured()).seal().encode()


def messages() -> tuple[bytes, ...]:
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    return (
        enqueued(7),
        enqueued("text \u00e4\U0001f600", {1, 2}, b"bytes", {"a": None}, tenant="globex", queue="mailers", priority=5),
        enqueued(deep, 1.5, wait=60),
    )


def as_text_or_view(data: bytes, chance: random.Random) -> Any:
    """Workers hand it on as bytes or as text."""
    try:
        return data.decode() if chance.random() < 0.3 else data
    except UnicodeDecodeError:
        return data


def check_length(error: Exception, number: int, data: bytes) -> None:
    """Nobody fills the log by what he sends."""
    assert len(str(error)) < 1000, (number, data)


@pytest.mark.timeout(600)
def test_a_changed_envelope_is_one_or_an_envelope_error() -> None:
    mutator = Mutator(1, *messages())
    for number in range(INPUTS):
        data = mutator.changed()
        try:
            found = Envelope.decode(as_text_or_view(data, mutator.chance))
        except EnvelopeError as error:
            check_length(error, number, data)
            continue
        assert Envelope.decode(found.encode()) == found, (number, data)


@pytest.mark.timeout(600)
def test_whatever_comes_that_we_have_not_signed_is_quarantined_and_nothing_runs() -> None:
    with testing.override(signing={"keys": [OTHER]}):
        mutator = Mutator(2, *messages())
    for number in range(INPUTS):
        data = mutator.changed()
        found = execute(as_text_or_view(data, mutator.chance))

        assert isinstance(found, Quarantined), (number, data)
        assert isinstance(found.error, EnvelopeError), (number, data)
        check_length(found.error, number, data)
    assert ran == []


@pytest.mark.timeout(600)
def test_a_changed_job_of_ours_runs_as_it_was_enqueued_or_not_at_all() -> None:
    originals = messages()
    for data in originals:
        execute(data)
        adapter.configured().ledger = testing.memory.MemoryLedger()  # type: ignore[attr-defined]
    expected = list(map(repr, ran))
    mutator = Mutator(3, *originals)
    for number in range(INPUTS):
        ran.clear()
        data = mutator.changed()
        found = execute(as_text_or_view(data, mutator.chance))

        if isinstance(found, Quarantined):
            assert isinstance(found.error, EnvelopeError), (number, data)
            assert ran == [], (number, data)
        else:  # its queue, its times or its counters were changed
            assert isinstance(found, Finished), (number, data, found)
            assert set(map(repr, ran)) <= set(expected), (number, data)


@pytest.mark.timeout(600)
def test_changed_arguments_are_values_or_an_argument_error() -> None:
    mutator = Mutator(4, *(bytes(Envelope.decode(data).arguments) for data in messages()))
    for number in range(INPUTS):
        data = mutator.changed()
        try:
            thawed = thaw(data)
            thawed.fill({reference: reference for reference in thawed.references})
        except ArgumentError as error:
            check_length(error, number, data)


@pytest.mark.timeout(600)
def test_changed_arguments_that_were_encrypted_never_open_as_others() -> None:
    with testing.override(encryption={"keys": lambda _: b"k" * 32}):
        envelope = Envelope.decode(enqueued(7))
        mutator = Mutator(5, bytes(envelope.arguments))
        for number in range(INPUTS):
            data = mutator.changed()
            try:
                found = encryption.opened(msgspec.structs.replace(envelope, arguments=msgspec.Raw(data)))
            except Undecipherable:
                continue
            assert found == b"[[7],{}]", (number, data)  # the same text, escaped in another way


@pytest.mark.timeout(600)
def test_a_changed_header_is_a_scope_or_unreadable_and_never_good_with_its_seal() -> None:
    plain = b'{"v":1,"tenant_id":"acme","attributes":{"user":{"$":"gid://app/User/7"},"n":[1,2.5]}}'
    closed = str(sealed(plain.decode(), lambda: ["task", "id"])).encode()
    mutator = Mutator(6, plain, closed)
    for number in range(INPUTS):
        data = mutator.changed()
        text = data.decode(errors="replace")
        _, error = opened(text, lambda: ["task", "id"], "job 1")
        assert error is not None or text.encode() == closed, (number, data)
        try:
            carriage.read(as_text_or_view(data, mutator.chance))
        except Unreadable as unreadable:
            check_length(unreadable, number, data)
