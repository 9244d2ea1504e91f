from __future__ import annotations

import logging
import sqlite3
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs import (
    Current,
    adapter,
    chain,
    checks,
    discard_on,
    encryption,
    job,
    perform_all_later,
    retry_on,
    testing,
)
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError, SerializationError, Undecipherable
from tenantjobs.execution import aexecute, execute
from tenantjobs.idempotency import idempotent
from tenantjobs.message import Message
from tenantjobs.outcome import Failed, Finished, Quarantined, Retried
from tenantjobs.uniqueness import unique
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter

OLD, NEW, THEIRS = b"o" * 32, b"n" * 32, b"t" * 32
SECRET = "a very secret argument"

ran: list[object] = []
keys: dict[str | None, Any] = {}


def ring(tenant_id: str | None) -> Any:
    return keys[tenant_id]


@job(name="encryption.note", policies=[discard_on(Exception)], tenancy="optional")
def note(value: object = None) -> None:
    ran.append((Current.tenant_id, value))


@job(name="encryption.anote")
async def anote(value: object = None) -> None:
    ran.append((Current.tenant_id, value))


@job(name="encryption.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
def flaky(value: object) -> None:
    ran.append(value)
    if len(ran) < 2:
        raise ConnectionError


@job(name="encryption.once", policies=[idempotent(), unique("until_executed")])
def once_only(value: object) -> None:
    ran.append(value)


@pytest.fixture(autouse=True)
def encrypted() -> Iterator[None]:
    ran.clear()
    keys.clear()
    keys.update({"acme": [NEW], "globex": [THEIRS]})
    with testing.override(adapter="test", encryption={"keys": ring}):
        yield


def sealed(call: Any, tenant: str = "acme") -> Envelope:
    with Current.set(tenant_id=tenant):
        return Message(call, adapter.configured()).seal()


def refused(envelope: Envelope) -> str:
    found = execute(envelope.encode())
    assert isinstance(found, Quarantined), found
    assert isinstance(found.error, Undecipherable)
    assert ran == []
    return str(found.error)


# what travels, and what arrives


def test_arguments_travel_as_nobody_can_read_them_and_arrive_as_they_were() -> None:
    envelope = sealed(note.call(SECRET))

    assert SECRET.encode() not in envelope.encode()
    assert msgspec.json.decode(envelope.arguments).startswith(f"tj1:{encryption.key_id(NEW)}:")
    assert isinstance(execute(envelope.encode()), Finished)
    assert ran == [("acme", SECRET)]


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_any_arguments_come_back(value: Any) -> None:
    ran.clear()
    execute(sealed(note.call(value)).encode())

    assert ran == [("acme", value)]


async def test_those_of_an_async_job_do_too() -> None:
    await aexecute(sealed(anote.call(SECRET)).encode())

    assert ran == [("acme", SECRET)]


def test_the_same_arguments_never_travel_as_the_same_text() -> None:
    assert bytes(sealed(note.call(1)).arguments) != bytes(sealed(note.call(1)).arguments)


def test_a_retry_keeps_the_text_as_it_came() -> None:
    envelope = sealed(flaky.call(SECRET))

    retried = execute(envelope.encode())

    assert isinstance(retried, Retried)
    assert bytes(retried.again().arguments) == bytes(envelope.arguments)
    assert isinstance(execute(retried.again().encode()), Finished)
    assert ran == [SECRET, SECRET]


def test_the_keys_of_guards_are_those_of_the_arguments_in_clear() -> None:
    one, same, other = sealed(once_only.call(1)), sealed(once_only.call(1)), sealed(once_only.call(2))

    assert one.keys == same.keys != other.keys


def test_jobs_of_many_tenants_are_each_encrypted_with_their_own_key() -> None:
    with Current.set(tenant_id="acme"):
        calls = [note.call(1)]
    with Current.set(tenant_id="globex"):
        calls.append(note.call(2))
    perform_all_later(calls)
    testing.drain()

    assert sorted(ran, key=str) == [("acme", 1), ("globex", 2)]


def test_the_jobs_of_a_chain_are_each_encrypted_for_themselves() -> None:
    with testing.override(signing={"keys": ["2026-11:a new secret, in use"]}):
        with Current.set(tenant_id="acme"):
            chain(note.call(SECRET), note.call(SECRET + "!")).perform_later()
        waiting = adapter.configured()._waiting  # type: ignore[attr-defined]  # as it would be stored
        assert SECRET.encode() not in b"".join(waiting)
        testing.drain()

    assert ran == [("acme", SECRET), ("acme", SECRET + "!")]


def test_a_chain_ends_where_nobody_can_read_on() -> None:
    with Current.set(tenant_id="acme"):
        chain(note.call(1), note.call(2)).perform_later()
    keys["acme"] = [OLD]
    testing.drain()

    assert ran == []
    (failed,) = adapter.configured().failed  # type: ignore[attr-defined]  # the adapter `test` keeps them
    assert isinstance(failed.error, Undecipherable)


def test_a_job_that_was_enqueued_before_is_performed() -> None:
    envelope = msgspec.structs.replace(sealed(note.call(1)), arguments=msgspec.Raw(b"[[7],{}]"))

    assert isinstance(execute(envelope.encode()), Finished)
    assert ran == [("acme", 7)]


def test_tests_see_the_arguments_of_what_was_enqueued() -> None:
    with Current.set(tenant_id="acme"):
        note.perform_later(SECRET)
        testing.assert_enqueued_with(job=note, args=(SECRET,))


def test_a_signature_covers_the_text_that_travels() -> None:
    with testing.override(signing={"keys": ["2026-11:a new secret, in use"]}):
        envelope = sealed(note.call(SECRET))
        assert isinstance(execute(envelope.encode()), Finished)
        clear = msgspec.structs.replace(envelope, arguments=msgspec.Raw(b"[[7],{}]"))
        assert isinstance(execute(clear.encode()), Quarantined)

    assert ran == [("acme", SECRET)]


def test_the_database_and_the_log_never_see_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jobs.db"
    with testing.override(adapter="db", db={"url": f"sqlite:///{path}"}), caplog.at_level(logging.DEBUG):
        queue = adapter.configured()
        assert isinstance(queue, DatabaseAdapter)
        schema.upgrade(queue.database.engine)
        with Current.set(tenant_id="acme"):
            note.perform_later(SECRET)
            note.perform_later(SECRET)
        keys["acme"] = [OLD]
        with Current.set(tenant_id="globex"):
            note.perform_later(SECRET)
        assert testing.drain() == 1

        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT state FROM tj_jobs ORDER BY id").fetchall()
        assert rows == [("quarantined",), ("quarantined",), ("finished",)]
    assert ran == [("globex", SECRET)]
    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert SECRET.encode() not in stored
    assert SECRET not in caplog.text
    assert "Nobody can read them" in caplog.text


# the keys


def test_a_key_that_was_put_in_front_encrypts_and_the_one_behind_it_still_opens() -> None:
    keys["acme"] = [OLD]
    waiting = sealed(note.call(1))
    keys["acme"] = [NEW, OLD]
    newer = sealed(note.call(2))

    execute(waiting.encode())
    execute(newer.encode())

    assert ran == [("acme", 1), ("acme", 2)]
    assert encryption.key_id(NEW).encode() in bytes(newer.arguments)


def test_one_key_alone_needs_no_list() -> None:
    keys["acme"] = NEW
    execute(sealed(note.call(1)).encode())

    assert ran == [("acme", 1)]


@pytest.mark.parametrize("gone", [KeyError, None, [], [OLD]])
def test_when_the_key_of_a_tenant_is_destroyed_its_jobs_are_quarantined_and_no_others(gone: Any) -> None:
    of_acme, of_globex = sealed(note.call(SECRET)), sealed(note.call(SECRET), "globex")
    if gone is KeyError:
        del keys["acme"]
    else:
        keys["acme"] = gone

    assert "of tenant acme" in refused(of_acme)
    assert isinstance(execute(of_globex.encode()), Finished)
    assert ran == [("globex", SECRET)]


def test_the_error_says_which_key_was_wanted_and_which_there_are() -> None:
    envelope = sealed(note.call(1))
    keys["acme"] = [OLD]

    assert f"with the key '{encryption.key_id(NEW)}' of tenant acme, and the keyring has {encryption.key_id(OLD)}" in (
        refused(envelope)
    )


def test_nothing_is_enqueued_for_a_tenant_without_a_key() -> None:
    with Current.set(tenant_id="nobody"), pytest.raises(EnqueueError, match="tenant nobody has no key"):
        note.perform_later(1)

    assert testing.drain() == 0


def test_a_job_of_no_tenant_needs_a_key_of_its_own() -> None:
    with Current.system("nightly"):
        with pytest.raises(EnqueueError, match="None, which stands for no tenant, has no key"):
            note.perform_later(1)
        keys[None] = OLD
        note.perform_later(1)
    testing.drain()

    assert ran == [(None, 1)]


def test_a_keyring_that_does_not_answer_is_an_error_of_the_attempt_and_not_the_end_of_the_job() -> None:
    envelope = sealed(flaky.call(1))

    def unreachable(_: str | None) -> bytes:
        raise ConnectionError("the vault is sealed")

    with testing.override(encryption={"keys": unreachable}):
        assert isinstance(execute(envelope.encode()), Retried)
        with pytest.raises(ConnectionError):
            sealed(note.call(1))
    assert ran == []


def test_a_process_without_keys_quarantines_what_it_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = sealed(note.call(1))
    monkeypatch.setattr(encryption, "keyring", lambda: None)

    assert "this process has no [encryption] keys" in refused(envelope)


# what was changed


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"},
        {"name": "encryption.flaky"},
        {"context": msgspec.Raw(b'{"tenant_id":"globex"}')},
        {"context": msgspec.Raw(b"{}")},
    ],
)
def test_arguments_do_not_open_in_the_envelope_of_another_job(changes: dict[str, Any]) -> None:
    keys.update({"globex": [THEIRS, NEW], None: [NEW]})

    assert "belong to another job" in refused(msgspec.structs.replace(sealed(note.call(SECRET)), **changes))


def test_a_change_of_bits_that_nothing_is_made_of_is_found() -> None:
    ran.clear()
    for number in range(3):  # of three lengths one leaves none over
        envelope = sealed(note.call("x" * number))
        text = bytearray(envelope.arguments)
        last = text.rindex(b"=") - text.count(b"=") if b"=" in text else None
        if last is not None:
            text[last] = _beside(text[last])
            changed = msgspec.structs.replace(envelope, arguments=msgspec.Raw(bytes(text)))
            assert isinstance(execute(changed.encode()), Quarantined | Failed)
    assert ran == []


def _beside(character: int) -> int:
    """The next one of base64's alphabet, which differs in the last bit alone."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    return ord(alphabet[alphabet.index(chr(character)) ^ 1])


@given(place=st.integers(min_value=0), bits=st.integers(1, 127))
def test_a_changed_character_never_gives_other_arguments(place: int, bits: int) -> None:
    ran.clear()
    envelope = sealed(note.call(SECRET))
    text = bytearray(envelope.arguments)
    place = 1 + place % (len(text) - 2)
    text[place] ^= bits

    try:
        changed = msgspec.structs.replace(envelope, arguments=msgspec.Raw(bytes(text))).encode()
    except msgspec.MsgspecError:
        return
    assert isinstance(execute(changed), Quarantined | Failed)
    assert ran == []


@pytest.mark.parametrize(
    "text", ["", "tj1", "tj1:", "tj2:00:AAAA", "tj1:{}:", "tj1:{}:AAAA", "tj1:{}:not base64", "\u00e4"]
)
def test_what_nobody_has_sealed_is_quarantined(text: str) -> None:
    arguments = msgspec.Raw(msgspec.json.encode(text.format(encryption.key_id(NEW))))

    refused(msgspec.structs.replace(sealed(note.call(1)), arguments=arguments))


# the configuration


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("shop.keys", "is wanted"),
        ("", "is wanted"),
        (7, "is wanted"),
        ("no_such_module:keyring", "cannot be imported"),
        (f"{__name__}:rng", f"did you mean {__name__}:ring?"),
        (f"{__name__}:SECRET", "not str"),
    ],
)
def test_a_wrong_keyring_is_refused_where_it_is_first_needed_and_by_check(value: Any, message: str) -> None:
    with testing.override(encryption={"keys": value}):
        with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
            sealed(note.call(1))
        assert message in "".join(checks.problems())


def test_a_keyring_to_await_is_refused() -> None:
    async def later(_: str | None) -> bytes:
        return NEW

    with testing.override(encryption={"keys": later}), pytest.raises(ConfigurationError, match="not one to await"):
        sealed(note.call(1))


@pytest.mark.parametrize(("key", "what"), [(b"short", "5 bytes"), ("n" * 32, "str"), (7, "int")])
def test_a_key_that_is_none_is_refused(key: Any, what: str) -> None:
    keys["acme"] = [NEW, key]

    with pytest.raises(ConfigurationError, match=f"key number 2 of tenant acme is {what}, and 32 bytes are wanted"):
        sealed(note.call(1))


def test_the_keyring_may_be_named_in_the_configuration() -> None:
    with testing.override(encryption={"keys": f"{__name__}:ring"}):
        execute(sealed(note.call(1)).encode())

    assert ran == [("acme", 1)]


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    encryption._aesgcm.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=r"pip install 'tenantjobs\[crypto\]'"):
            sealed(note.call(1))
    finally:
        encryption._aesgcm.cache_clear()


def test_arguments_that_are_too_large_once_they_are_encrypted_are_refused() -> None:
    with testing.override(size_limit=8000), pytest.raises(SerializationError, match="over the limit"):
        sealed(note.call("x" * 7000))
