"""Each leak is planted, and seen; what does right by its tenant is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Current, job, sentinel
from tenantjobs.definition import Definition, registry
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Failed, Finished
from tenantjobs.sentinel import TenantLeak
from tenantjobs_sqlalchemy import current_session, locked, rls
from tests.tenantjobs_sqlalchemy.conftest import Card, Recording

pytestmark = pytest.mark.tenantjobs_leaks

Maker = sessionmaker[Session]
numbers = itertools.count()
cards = Card.__table__


@pytest.fixture(autouse=True)
def known() -> Iterator[dict[str, Definition]]:
    before = dict(registry)
    yield registry
    registry.clear()
    registry.update(before)


@pytest.fixture
def rows(engine: Engine) -> None:
    """A card of each of two tenants."""
    with engine.begin() as connection:
        connection.execute(cards.insert(), [{"id": 1, "tenant_id": "10", "title": "a"}])
        connection.execute(cards.insert(), [{"id": 2, "tenant_id": "20", "title": "g"}])


@pytest.fixture
def data(elsewhere: Recording) -> Callable[..., bytes]:
    """A job of tenant 10, as the bytes that a queue would hold."""

    def enqueue(function: Callable[[], Any], **options: Any) -> bytes:
        target = job(name=f"tests.sentinel.{next(numbers)}", **options)(function)
        with Current.set(tenant_id="10"):
            target.perform_later()
        return elsewhere.envelopes[-1].encode()

    return enqueue


@pytest.fixture
def leaks(data: Callable[..., bytes]) -> Callable[..., list[str]]:
    """What a sentinel says of a job: the kinds of its leaks."""

    def watch(function: Callable[[], Any], **options: Any) -> list[str]:
        envelope = data(function, **options)
        with sentinel.watch() as watching:
            outcome = execute(envelope)
        assert isinstance(outcome, Finished), getattr(outcome, "error", outcome)
        return [leak.kind for leak in watching.leaks]

    return watch


def run(statement: Any, *parameters: Any) -> Any:
    return current_session().connection().execute(statement, *parameters)


@pytest.mark.usefixtures("maker", "rows")
@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT title FROM cards"),
        text("SELECT title FROM orders, cards"),
        text('SELECT title FROM "cards" WHERE id = 1'),
        text("SELECT o.name FROM orders o LEFT JOIN cards ON cards.id = o.id"),
        text("SELECT name FROM orders WHERE EXISTS (SELECT 1 FROM cards)"),
        text("UPDATE cards SET title = 'x' WHERE id = 2"),
        text("DELETE FROM cards WHERE id = 2"),
        text("SELECT title FROM cards WHERE tenant_id = '20'"),
        text("INSERT INTO cards (id, tenant_id, title) VALUES (3, '20', 'x')"),
        text("SELECT title FROM cards WHERE tenant_id = '20' AND id <> 10"),
        text("SELECT title FROM cards WHERE id <> :id AND tenant_id = :tenant").bindparams(id=10, tenant="20"),
        text("SELECT title FROM cards WHERE tenant_id IN (:one, :two)").bindparams(one="10", two="20"),
        text("SELECT title FROM cards WHERE tenant_id = '10' OR tenant_id = :other").bindparams(other="20"),
        text("SELECT title FROM cards -- tenant_id = '10'"),
    ],
    ids=str,
)
def test_a_text_that_does_not_ask_for_its_tenant_is_a_leak(leaks: Any, statement: Any) -> None:
    assert leaks(lambda: run(statement)) == ["unscoped query"]


@pytest.mark.usefixtures("maker", "rows")
@pytest.mark.parametrize(
    "statement",
    [
        select(cards.c.title),
        select(cards.c.title).where(cards.c.tenant_id == "20"),
        cards.insert().values(id=3, tenant_id="20", title="x"),
        update(cards).values(title="x"),
        delete(cards),
    ],
    ids=str,
)
def test_a_statement_on_a_connection_of_no_session_is_a_leak(leaks: Any, engine: Engine, statement: Any) -> None:
    """In a session it would have been narrowed, or refused."""

    def work() -> None:
        with engine.begin() as connection:
            connection.execute(statement)

    assert leaks(work) == ["unscoped query"]


@pytest.mark.usefixtures("maker", "rows")
@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT title FROM cards WHERE tenant_id = '10'"),
        text("SELECT c.title FROM cards AS c JOIN orders ON c.id = orders.id WHERE c.tenant_id IN ('10')"),
        text("SELECT name AS cards FROM orders"),
        text("SELECT 'from cards' FROM orders WHERE name = 'cards'"),
        text("INSERT INTO cards (id, tenant_id, title) VALUES (3, '10', 'x')"),
        select(cards.c.title).where(cards.c.tenant_id == "10"),
        cards.insert().values(id=3, tenant_id="10", title="x"),
        update(cards).values(title="x").where(cards.c.tenant_id == "10"),
        delete(cards).where(cards.c.tenant_id == "10"),
    ],
    ids=str,
)
def test_a_statement_that_asks_for_its_tenant_is_none(leaks: Any, statement: Any) -> None:
    assert leaks(lambda: run(statement)) == []


@pytest.mark.usefixtures("maker", "rows")
def test_what_the_orm_scopes_is_none(leaks: Any) -> None:
    def work() -> None:
        session = current_session()
        (card,) = session.scalars(select(Card))
        card.title = "changed"
        session.flush()
        session.refresh(card)
        session.expire(card)
        assert card.title == "changed"
        assert card.comments == []
        session.add(Card(id=5, title="new"))
        session.flush()
        session.delete(card)
        session.execute(update(Card).values(title="all"))
        session.execute(insert(Card), [{"id": 7, "tenant_id": "10", "title": "b"}])
        session.get(Card, 5)

    assert leaks(work) == []


@pytest.mark.usefixtures("maker", "rows")
def test_a_lock_on_a_record_is_none(leaks: Any) -> None:
    def lock() -> None:
        card = current_session().scalars(select(Card)).first()
        with locked(card):
            card.title = "changed"

    assert leaks(lock) == []


@pytest.mark.usefixtures("maker", "rows")
def test_a_row_of_another_tenant_that_comes_in_past_the_filter_is_a_leak(leaks: Any) -> None:
    def work() -> None:
        statement = select(Card).from_statement(text("SELECT * FROM cards WHERE tenant_id = tenant_id AND '10' = '10'"))
        current_session().scalars(statement).all()

    assert leaks(work) == ["foreign row"]


@pytest.mark.usefixtures("maker", "rows")
def test_the_systems_scope_and_a_switch_are_the_ways_out(leaks: Any) -> None:
    def work() -> None:
        with Current.system("a report"):
            run(text("SELECT title FROM cards"))
        with Current.switch("support", tenant_id="20"):
            run(text("SELECT title FROM cards WHERE tenant_id = '20'"))

    assert leaks(work) == []


@pytest.mark.usefixtures("maker", "rows")
def test_the_leak_says_which_job_which_statement_and_where(data: Any) -> None:
    def work() -> None:
        run(text("SELECT title\nFROM cards"))

    envelope = data(work)
    with sentinel.watch() as watching:
        execute(envelope)

    (leak,) = watching.leaks
    assert (leak.tenant_id, leak.place) == ("10", f"tests/tenantjobs_sqlalchemy/test_sentinel.py:{run_line()}")
    assert "SELECT title FROM cards" in str(leak)
    assert leak.job in str(leak)


def run_line() -> int:
    return run.__code__.co_firstlineno + 1


@pytest.mark.usefixtures("rows")
async def test_in_an_async_job_the_line_is_that_of_the_await(
    amaker: async_sessionmaker[AsyncSession], data: Any
) -> None:
    async def work() -> None:
        await current_session().execute(text("SELECT title FROM cards"))

    envelope = data(work)
    with sentinel.watch() as watching:
        outcome = await aexecute(envelope)

    assert isinstance(outcome, Finished), outcome
    (leak,) = watching.leaks
    assert leak.place == f"tests/tenantjobs_sqlalchemy/test_sentinel.py:{work.__code__.co_firstlineno + 1}"


@pytest.mark.usefixtures("maker", "rows")
def test_a_sentinel_that_raises_stops_the_statement(data: Any, engine: Engine) -> None:
    envelope = data(lambda: run(text("DELETE FROM cards")))
    with sentinel.watch("raise"):
        outcome = execute(envelope)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TenantLeak)
    with engine.connect() as connection:
        assert len(connection.execute(select(cards.c.id)).all()) == 2


@pytest.mark.usefixtures("maker", "rows")
def test_a_sentinel_that_counts_keeps_nothing(data: Any) -> None:
    envelope = data(lambda: run(text("DELETE FROM cards")))
    with sentinel.watch("count") as watching:
        execute(envelope)

    assert (dict(watching.counts), watching.leaks) == ({"unscoped query": 1}, [])


@pytest.mark.usefixtures("maker")
def test_a_session_that_is_left_open_is_a_leak(leaks: Any, engine: Engine) -> None:
    left: list[Session] = []

    def work() -> None:
        left.append(Session(engine))
        left[0].execute(text("SELECT 1"))

    assert leaks(work) == ["open transaction"]
    left[0].close()


@pytest.mark.usefixtures("maker")
def test_a_session_that_is_closed_is_none(leaks: Any, engine: Engine) -> None:
    def work() -> None:
        with Session(engine) as session:
            session.execute(text("SELECT 1"))

    assert leaks(work) == []


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    "setting", ["SET search_path TO pg_catalog", "SET tenantjobs.tenant_id TO '10'", "SET ROLE pg_monitor"]
)
@pytest.mark.usefixtures("maker")
def test_a_connection_that_goes_back_with_a_setting_is_a_leak(leaks: Any, engine: Engine, setting: str) -> None:
    def work() -> None:
        with engine.begin() as connection:
            connection.execute(text(setting))

    try:
        assert leaks(work) == ["connection state"]
    finally:
        engine.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("setting", ["SET LOCAL search_path TO pg_catalog", "SET LOCAL tenantjobs.tenant_id TO '10'"])
@pytest.mark.usefixtures("maker")
def test_a_setting_of_the_transaction_is_none(leaks: Any, engine: Engine, setting: str) -> None:
    def work() -> None:
        with engine.begin() as connection:
            connection.execute(text(setting))

    assert leaks(work) == []


@pytest.mark.usefixtures("maker")
def test_a_scope_that_is_left_open_is_a_leak(leaks: Any) -> None:
    def work() -> None:
        Current.set(tenant_id="10").__enter__()

    assert leaks(work) == ["context"]


@pytest.mark.usefixtures("maker", "rows")
def test_nobody_looks_outside_of_jobs_or_without_a_sentinel(data: Any, engine: Engine) -> None:
    envelope = data(lambda: run(text("SELECT title FROM cards")))
    with sentinel.watch() as watching, Session(engine) as session, Current.set(tenant_id="10"):
        session.connection().execute(text("SELECT title FROM cards"))
    execute(envelope)

    assert watching.leaks == []


def test_a_way_of_watching_that_does_not_exist_is_refused() -> None:
    with pytest.raises(sentinel.ConfigurationError, match="warn, raise, count"):
        sentinel.watch("panic")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.usefixtures("maker", "rows")
def test_what_row_level_security_holds_need_not_ask(leaks: Any, engine: Engine) -> None:
    rls.install(engine)
    try:
        assert leaks(lambda: run(text("SELECT title FROM cards"))) == []
    finally:
        rls.uninstall()
