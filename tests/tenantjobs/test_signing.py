from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs import Current, adapter, job, retry_on, runtime, signing, testing
from tenantjobs.envelope import Envelope
from tenantjobs.errors import BadSignature, ConfigurationError, EnvelopeError
from tenantjobs.execution import execute
from tenantjobs.idempotency import idempotent
from tenantjobs.message import Message
from tenantjobs.outcome import Finished, Quarantined, Retried

OLD, NEW = "2026-05:an old secret, retired", "2026-11:a new secret, in use"

ran: list[object] = []


@job(name="signing.note")
def note(value: object = None) -> None:
    ran.append((Current.tenant_id, value))


@job(name="signing.other")
def other(value: object = None) -> None:
    ran.append(("other", value))


@job(name="signing.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=9, queue="again", priority=7)])
def flaky() -> None:
    raise ConnectionError("as asked for")


@job(name="signing.once", policies=[idempotent(key=lambda number: f"number:{number}")])
def once_only(number: int) -> None: ...


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    ran.clear()
    with testing.override(adapter="test", signing={"keys": [NEW]}):
        yield


def sealed(call: Any, tenant: str = "acme") -> Envelope:
    with Current.set(tenant_id=tenant):
        return Message(call, adapter.configured()).seal()


def outcome(envelope: Envelope) -> Any:
    return execute(envelope.encode())


def refused(envelope: Envelope) -> str:
    found = outcome(envelope)
    assert isinstance(found, Quarantined), found
    assert isinstance(found.error, BadSignature)
    assert ran == []
    return str(found.error)


# what is accepted


def test_a_job_that_we_have_enqueued_runs() -> None:
    assert isinstance(outcome(sealed(note.call(7))), Finished)
    assert ran == [("acme", 7)]


def test_the_signature_names_its_key_and_is_all_that_is_added() -> None:
    signed = sealed(note.call(7))

    fields = msgspec.json.decode(signed.encode())

    assert fields.pop("sig").startswith("2026-11:")
    assert msgspec.json.encode(fields) == msgspec.structs.replace(signed, signature=None).encode()


def test_without_keys_an_envelope_is_as_it_always_was() -> None:
    with testing.override(signing={"keys": [NEW], "mode": "off"}):
        assert sealed(note.call(7)).signature is None


def test_a_retry_keeps_the_signature_whatever_it_changes() -> None:
    envelope = sealed(flaky.call())

    for attempt in range(1, 4):
        retried = outcome(envelope)
        assert isinstance(retried, Retried), retried
        envelope = retried.again()
        assert (envelope.attempt, envelope.queue, envelope.priority) == (attempt, "again", 7)

    assert envelope.signature == sealed(flaky.call()).signature or envelope.signature is not None


def test_a_key_that_was_put_behind_another_is_still_accepted_until_it_is_taken_out() -> None:
    with testing.override(signing={"keys": [OLD]}):
        waiting = sealed(note.call("old"))

    with testing.override(signing={"keys": [NEW, OLD]}):
        assert isinstance(outcome(waiting), Finished)
        assert str(sealed(note.call()).signature).startswith("2026-11:")

    ran.clear()
    assert "'2026-05', and [signing] knows 2026-11" in refused(waiting)


# what is quarantined


def test_an_envelope_without_a_signature_is_not_run() -> None:
    assert "is not signed" in refused(msgspec.structs.replace(sealed(note.call()), signature=None))


def test_a_signature_by_somebody_who_only_knows_the_name_of_our_key_is_not_accepted() -> None:
    with testing.override(signing={"keys": ["2026-11:another secret of theirs"]}):
        forged = sealed(note.call())

    assert "forged, or changed on its way" in refused(forged)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"},
        {"name": "signing.other"},
        {"context": msgspec.Raw(b'{"tenant_id":"globex"}')},
        {"context": msgspec.Raw(b'{"tenant_id": "acme"}')},
        {"context": msgspec.Raw(b'{"system":"for all of them"}')},
        {"arguments": msgspec.Raw(b"[[8],{}]")},
        {"keys": {"idempotent": "another"}},
    ],
    ids=lambda change: "-".join(f"{name}" for name in change),
)
@pytest.mark.parity("1c.13")
def test_what_was_changed_on_its_way_is_not_run(change: dict[str, Any]) -> None:
    assert "changed on its way" in refused(msgspec.structs.replace(sealed(note.call(7)), **change))


@pytest.mark.parametrize("part", ["context", "arguments", "signature", "id", "name"])
def test_parts_that_were_swapped_between_two_good_envelopes_are_not_run(part: str) -> None:
    one, two = sealed(note.call(1), "acme"), sealed(other.call(2), "globex")

    refused(msgspec.structs.replace(one, **{part: getattr(two, part)}))


def test_the_key_of_a_guard_cannot_be_changed() -> None:
    envelope = sealed(once_only.call(7))
    assert envelope.keys == {"idempotent": "number:7"}

    refused(msgspec.structs.replace(envelope, keys={"idempotent": "number:8"}))
    refused(msgspec.structs.replace(envelope, keys={}))
    refused(msgspec.structs.replace(envelope, keys={"idempotentnumber:7": ""}))


def test_a_truncated_envelope_is_quarantined_wherever_it_ends() -> None:
    data = sealed(note.call("a text that is long enough")).encode()

    for end in range(len(data)):
        found = execute(data[:end])
        assert isinstance(found, Quarantined)
    assert ran == []


@given(place=st.integers(min_value=0), byte=st.integers(1, 255))
def test_one_changed_byte_never_makes_a_job_run_for_another_tenant_or_with_other_arguments(
    place: int, byte: int
) -> None:
    ran.clear()
    data = bytearray(sealed(note.call("worth ten")).encode())
    data[place % len(data)] ^= byte

    found = execute(bytes(data))

    if isinstance(found, Quarantined):
        assert isinstance(found.error, EnvelopeError)
        assert ran == []
    else:  # a counter or a time, which a retry changes too
        assert ran == [("acme", "worth ten")]


def test_a_message_that_is_quarantined_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    envelope = msgspec.structs.replace(sealed(note.call()), signature=None)

    outcome(envelope)

    assert f"job signing.note id={envelope.id} tenant=acme is not signed" in caplog.text


# a roll-out


def test_while_it_is_observed_what_is_not_signed_runs_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    envelope = msgspec.structs.replace(sealed(note.call(7)), signature=None)

    with testing.override(signing={"keys": [NEW], "mode": "observe"}), caplog.at_level(logging.WARNING):
        assert isinstance(outcome(envelope), Finished)
        assert sealed(note.call()).signature is not None

    assert ran == [("acme", 7)]
    assert "is not signed" in caplog.text
    assert "mode is 'observe'" in caplog.text


def test_what_is_off_does_not_look() -> None:
    envelope = msgspec.structs.replace(sealed(note.call(7)), signature="2026-11:00")

    with testing.override(signing={"keys": [NEW], "mode": "off"}):
        assert isinstance(outcome(envelope), Finished)


# the configuration


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"keys": []}, "there is none"),
        ({"keys": ["no id and no colon in this"]}, "number 1 is not"),
        ({"keys": [NEW, "2027-01:short"]}, "number 2 is not"),
        ({"keys": ["two words:a secret that is long"]}, "number 1 is not"),
        ({"keys": [NEW, NEW]}, "are not different"),
        ({"keys": [NEW], "mode": "enforced"}, "did you mean enforce"),
        ({"keys": [NEW], "key": "x"}, "did you mean keys?"),
        ({"keys": NEW}, "expected `array`"),
    ],
)
def test_a_wrong_section_is_refused_and_shows_no_secret(section: dict[str, Any], message: str) -> None:
    with testing.override(signing=section), pytest.raises(ConfigurationError) as refusal:
        signing.configured()

    assert message.replace("`", "") in str(refusal.value).replace("`", "")
    assert "in use" not in str(refusal.value)
    assert "short" not in str(refusal.value).replace("shorter", "")


def test_keys_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_SIGNING_KEYS", "2026-11:bmV3IHNlY3JldA== 2026-05:b2xkIHNlY3JldA==")

    with testing.override(signing={"mode": "observe"}):
        signer = signing.configured()
        assert signer is not None
        assert signer.sign("test", ["x"]).startswith("2026-11:")


def test_the_settings_show_no_secret() -> None:
    found = runtime.settings()

    assert "in use" not in repr(found.signing)
    assert "2026-11" in repr(found.signing)


def test_parts_that_are_cut_elsewhere_have_another_signature() -> None:
    signer = signing.configured()
    assert signer is not None

    signatures = {signer.sign(purpose, parts) for purpose, parts in [("a", ["bc"]), ("a", ["b", "c"]), ("ab", ["c"])]}

    assert len(signatures) == 3
