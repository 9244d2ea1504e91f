"""Every way to send a task, with a transaction around it that commits, and one that rolls back."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import chain, chord, group, signals
from celery.beat import Scheduler
from celery.schedules import schedule
from kombu.exceptions import EncodeError
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import tenantjobs_celery
import tenantjobs_sqlalchemy
from tenantjobs.current import Current
from tenantjobs.errors import SerializationError
from tenantjobs_celery.performing import wrapper
from tests.tenantjobs_celery.bench import Bench

Make = Callable[..., Bench]


class Sender:
    """An app whose task ``look`` notes for whom it runs."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.app = bench.app
        self.seen: list[Any] = []

        @bench.task(name="look")
        def look(*_: object, **__: object) -> str | None:
            self.seen.append(Current.tenant_id)
            return Current.tenant_id

        @bench.task(name="failing")
        def failing(*_: object) -> None:
            raise ValueError("as asked for")

        self.look, self.failing = look, failing

    def with_producer(self) -> None:
        with self.app.producer_or_acquire() as producer:
            self.look.apply_async(producer=producer)

    def with_connection(self) -> None:
        with self.app.connection_for_write() as connection:
            self.look.apply_async(connection=connection)

    def by_beat(self) -> None:
        beat = Scheduler(app=self.app, lazy=True)
        beat.apply_async(beat.Entry(name="any", task="look", schedule=schedule(60), app=self.app), advance=False)

    def in_scope(self) -> None:
        with Current.switch("a copy for globex", tenant_id="globex"):
            self.look.delay()


# Each way, and for whom the tasks run then.
WAYS: dict[str, tuple[Callable[[Sender], object], list[str]]] = {
    "delay": (lambda here: here.look.delay(1), ["acme"]),
    "apply_async": (lambda here: here.look.apply_async((1,), {"two": 2}, priority=3), ["acme"]),
    "ignored result": (lambda here: here.look.apply_async(ignore_result=True), ["acme"]),
    "eta": (lambda here: here.look.apply_async(eta=datetime.now(UTC)), ["acme"]),
    "countdown": (lambda here: here.look.apply_async(countdown=0.01), ["acme"]),
    "send_task": (lambda here: here.app.send_task("look"), ["acme"]),
    "own producer": (lambda here: here.with_producer(), ["acme"]),
    "own connection": (lambda here: here.with_connection(), ["acme"]),
    "other scope": (lambda here: here.in_scope(), ["globex"]),
    "signature": (lambda here: here.look.s(1).delay(), ["acme"]),
    "called signature": (lambda here: here.look.s(1).apply_async(), ["acme"]),
    "chain": (lambda here: chain(here.look.si(), here.look.si())(), ["acme"] * 2),
    "group": (lambda here: group(here.look.si(), here.look.si())(), ["acme"] * 2),
    "chord": (lambda here: chord([here.look.si(), here.look.si()])(here.look.s()), ["acme"] * 3),
    "chain of groups": (lambda here: (here.look.si() | group(here.look.si(), here.look.si()))(), ["acme"] * 3),
    "map": (lambda here: here.look.map([1, 2]).delay(), ["acme"] * 2),
    "starmap": (lambda here: here.look.starmap([(1,), (2,)]).delay(), ["acme"] * 2),
    "chunks": (lambda here: here.look.chunks([(1,), (2,), (3,)], 2)(), ["acme"] * 3),
    "stamped": (lambda here: here.look.s().stamp(reason="any").apply_async(), ["acme"]),
    "signature by name": (lambda here: here.app.signature("look").delay(), ["acme"]),
    "entry of beat": (lambda here: here.by_beat(), ["acme"]),
    "chord with a chain": (
        lambda here: chord([here.look.si() | here.look.si()], here.look.si() | here.look.si())(),
        ["acme"] * 4,
    ),
    "link": (lambda here: here.look.apply_async(link=here.look.s()), ["acme"] * 2),
    "link_error": (lambda here: here.failing.apply_async(link_error=here.look.s()), ["acme"]),
    "chain with link_error": (
        lambda here: chain(here.look.si(), here.failing.si()).apply_async(link_error=here.look.s()),
        ["acme"] * 2,
    ),
}
PROTOCOLS = [2, 1]


@pytest.fixture
def sessions() -> Iterator[sessionmaker[Session]]:
    engine = create_engine("sqlite://")
    factory: sessionmaker[Session] = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(factory)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE deferral_lines (id INTEGER)"))
    yield factory
    engine.dispose()


@pytest.fixture
def deferring(make_bench: Make, tmp_path: Any) -> Callable[..., Sender]:
    def make(after_commit: bool = True, **settings: Any) -> Sender:
        bench = make_bench(None, result_backend=f"file://{tmp_path}", result_chord_retry_interval=0, **settings)
        tenantjobs_celery.install(bench.app, after_commit=after_commit)
        return Sender(bench)

    return make


@pytest.fixture
def here(deferring: Callable[..., Sender]) -> Sender:
    return deferring()


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


def written(session: Session) -> None:
    session.execute(text("INSERT INTO deferral_lines VALUES (1)"))


@pytest.mark.parametrize("way", WAYS)
def test_what_commits_leaves_with_the_commit(here: Sender, sessions: Any, acme: Any, way: str) -> None:
    send, expected = WAYS[way]
    with sessions.begin() as session:
        written(session)
        with acme:
            send(here)
        here.bench.work()

        assert [] == here.seen
    here.bench.work()

    assert expected == here.seen


@pytest.mark.parametrize("way", WAYS)
def test_what_rolls_back_is_dropped(here: Sender, sessions: Any, acme: Any, way: str) -> None:
    with suppress(ZeroDivisionError), sessions.begin() as session, acme:
        written(session)
        WAYS[way][0](here)
        raise ZeroDivisionError
    here.bench.work()

    assert [] == here.seen


@pytest.mark.parametrize("way", WAYS)
def test_without_a_transaction_it_leaves_at_the_call(here: Sender, acme: Any, way: str) -> None:
    send, expected = WAYS[way]
    with acme:
        send(here)
    here.bench.work()

    assert expected == here.seen


@pytest.mark.parametrize("way", WAYS)
def test_unless_asked_for_it_leaves_at_the_call(
    deferring: Callable[..., Sender], sessions: Any, acme: Any, way: str
) -> None:
    here = deferring(after_commit=False)
    with sessions.begin() as session:
        written(session)
        with acme:
            WAYS[way][0](here)

        assert here.bench.waiting()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_message_is_the_one_that_would_have_left_at_the_call(
    deferring: Callable[..., Sender], sessions: Any, protocol: int
) -> None:
    def send(here: Sender) -> None:
        known = {"task_id": "1", "root_id": "1", "reply_to": "me", "link": [here.look.s(2)]}
        here.app.send_task("look", ([1], {2: "two"}), headers={"color": "blue"}, priority=3, expires=60, **known)

    messages = []
    for after_commit in (False, True):
        here = deferring(after_commit, task_protocol=protocol)
        with sessions.begin() as session, Current.set(tenant_id="acme"):
            written(session)
            send(here)
        [message] = here.bench.waiting()
        body = json.loads(message.body)
        (body if protocol == 1 else message.headers).pop("expires")
        messages.append((message.headers, body, message.properties["priority"], message.properties["expiration"]))

    assert messages[0] == messages[1]


def test_the_result_and_its_id_are_there_at_once(here: Sender, sessions: Any, acme: Any) -> None:
    with sessions.begin() as session, acme:
        written(session)
        one, many = here.look.apply_async(task_id="mine"), group(here.look.si(), here.look.si())()
        state = one.state
    here.bench.work()

    assert ("mine", "PENDING") == (one.id, state)
    assert [one.get(), *many.get()] == ["acme"] * 3


def test_arguments_and_headers_are_those_of_the_call(here: Sender, sessions: Any, acme: Any) -> None:
    argument, headers = ["first"], {"color": "blue"}
    with sessions.begin() as session, acme:
        written(session)
        here.look.apply_async((argument,), headers=headers)
        argument.append("too late")
        headers["color"] = "too late"
    [message] = here.bench.waiting()

    assert [["first"]] == message.payload[0]
    assert "blue" == message.headers["color"]


def test_an_argument_that_cannot_be_serialized_is_refused_at_the_call(here: Sender, sessions: Any, acme: Any) -> None:
    with sessions.begin() as session, acme:
        written(session)
        with pytest.raises(EncodeError):
            here.look.delay(object())
    assert [] == here.bench.waiting()


class Noted(Current):
    celery_deferred: Any = None


def test_a_scope_that_cannot_travel_is_refused_at_the_call(here: Sender, sessions: Any, acme: Any) -> None:
    with sessions.begin() as session, acme, Noted.set(celery_deferred=object()):
        written(session)
        with pytest.raises(SerializationError, match="celery_deferred"):
            here.look.delay()


def test_signals_are_those_of_the_moment_at_which_it_leaves(here: Sender, sessions: Any, acme: Any) -> None:
    told: list[Any] = []

    def published(signal: Any, **_: object) -> None:
        told.append((signal.name, Current.tenant_id))

    both = (signals.before_task_publish, signals.after_task_publish)
    for signal in both:
        signal.connect(published)
    with sessions.begin() as session:
        written(session)
        with acme:
            here.look.delay()

        assert [] == told
    for signal in both:
        signal.disconnect(published)

    assert [(signal.name, "acme") for signal in both] == told


def test_a_broker_that_is_down_at_the_commit_is_logged(
    here: Sender, sessions: Any, acme: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionError("the broker is down")

    monkeypatch.setattr("kombu.messaging.Producer.publish", down)
    with sessions.begin() as session, acme:
        written(session)
        here.look.delay()

    assert "the broker is down" in caplog.text


def test_jobs_of_ours_have_waited_already(here: Sender, sessions: Any, acme: Any) -> None:
    with sessions.begin() as session, acme:
        written(session)
        wrapper(here.app).delay("an envelope, with its scope")
        [message] = here.bench.waiting()

    assert "tenantjobs" not in message.headers


# the running task


def work_of(here: Sender, body: Callable[[Any], Any], sessions: Any, **options: Any) -> Any:
    """Send a task that writes, and whose transaction ends with whatever ``body`` raises."""

    def write(self: Any) -> Any:
        with sessions.begin() as session:
            written(session)
            return body(self)

    task = here.bench.task(bind=True, name="writing", default_retry_delay=0, **options)(write)
    with Current.set(tenant_id="acme"):
        sent = task.delay()
    here.bench.work()
    return sent


def test_a_retry_of_the_running_task_does_not_wait(here: Sender, sessions: Any) -> None:
    def body(self: Any) -> Any:
        if self.request.retries == 0:
            raise self.retry()
        return Current.tenant_id

    assert "acme" == work_of(here, body, sessions).get(timeout=1)


def test_nor_does_one_that_raises_nothing(here: Sender, sessions: Any) -> None:
    runs = []

    def body(self: Any) -> None:
        runs.append(Current.tenant_id)
        if self.request.retries == 0:
            self.retry(throw=False)
            raise ValueError

    work_of(here, body, sessions)

    assert ["acme", "acme"] == runs


def test_an_automatic_retry_does_not_wait(here: Sender, sessions: Any) -> None:
    def body(self: Any) -> Any:
        if self.request.retries == 0:
            raise ConnectionError
        return Current.tenant_id

    assert "acme" == work_of(here, body, sessions, autoretry_for=(ConnectionError,)).get(timeout=1)


REPLACEMENTS: dict[str, tuple[Callable[[Sender], Any], Any]] = {
    "task": (lambda here: here.look.si(), "acme"),
    "chain": (lambda here: here.look.si() | here.look.si(), "acme"),
    "group": (lambda here: group(here.look.si(), here.look.si()), ["acme"] * 2),
    "chord": (lambda here: chord([here.look.si(), here.look.si()], here.look.si()), "acme"),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_a_replacement_of_the_running_task_does_not_wait(here: Sender, sessions: Any, kind: str) -> None:
    signature, expected = REPLACEMENTS[kind]

    def body(self: Any) -> None:
        raise self.replace(signature(here))

    assert expected == work_of(here, body, sessions).get(timeout=1)


def test_what_else_the_task_sends_is_dropped_with_its_rollback(here: Sender, sessions: Any) -> None:
    def body(self: Any) -> None:
        here.look.delay()
        raise self.replace(here.app.signature("failing", immutable=True))

    sent = work_of(here, body, sessions)

    assert "FAILURE" == sent.state
    assert [] == here.seen


@pytest.mark.tenantjobs_leaks  # the transaction that it leaves open
def test_what_follows_the_task_waits_for_a_session_that_it_left_open(here: Sender, sessions: Any) -> None:
    scoped = scoped_session(sessions)

    @here.bench.task(name="reading")
    def reading() -> None:
        scoped.execute(text("SELECT id FROM deferral_lines"))

    with Current.set(tenant_id="acme"):
        (reading.si() | here.look.si())()
    here.bench.work()
    before = list(here.seen)
    scoped.remove()
    here.bench.work()

    assert ([], ["acme"]) == (before, here.seen)
