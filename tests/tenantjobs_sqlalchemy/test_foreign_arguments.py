"""A record of another tenant is no argument: not at the call, not at the worker, and not of a job that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import adapter, job, testing
from tenantjobs.current import Current
from tenantjobs.errors import RecordGone, WrongTenant
from tenantjobs.execution import execute
from tenantjobs.message import Message
from tenantjobs.outcome import Failed, Finished
from tests.tenantjobs_sqlalchemy.conftest import ENGINES, MARIADB, Card, database

url = database(*ENGINES, MARIADB)

Maker = sessionmaker[Session]


@job
def show(*cards: Any) -> str:
    return cards[0].title if isinstance(cards[0], Card) else "cards"  # type: ignore[no-any-return]  # a text


@pytest.fixture(autouse=True)
def _queue() -> Iterator[None]:
    with testing.override(adapter="test"):
        yield


@pytest.fixture
def cards(maker: Maker, engine: Engine) -> list[Card]:
    """The first is acme's, the second globex's; both were loaded for all tenants."""
    with engine.begin() as connection:
        connection.execute(
            insert(Card), [{"id": 1, "title": "a", "tenant_id": "1"}, {"id": 2, "title": "b", "tenant_id": "2"}]
        )
    with Current.system("test"), maker() as session:
        return [session.get_one(Card, 1), session.get_one(Card, 2)]


def enqueued(card: Card) -> bytes:
    return Message(show.call(card), adapter.configured()).seal().encode()


@pytest.mark.parametrize("shape", [lambda card: card, lambda card: [card], lambda card: {"a": (card,)}])
@pytest.mark.parity("1a.13", "1c.12")
def test_it_is_refused_at_the_call(cards: list[Card], shape: Any) -> None:
    own, foreign = cards
    with Current.set(tenant_id="1"):
        show.perform_later(shape(own))
        for call in (show.perform_later, show.perform_now):
            with pytest.raises(WrongTenant, match="for tenant 1 was given Card of tenant 2"):
                call(shape(foreign))
        show.perform_now(shape(own))


@pytest.mark.parity("1c.12")
def test_it_is_refused_at_the_worker(cards: list[Card], engine: Engine) -> None:
    with Current.set(tenant_id="1"):
        data = enqueued(cards[0])

    assert execute(data) == Finished("a")

    with engine.begin() as connection:
        connection.execute(update(Card.__table__).where(Card.__table__.c.id == 1).values(tenant_id="2"))
    outcome = execute(data)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, WrongTenant)


def test_one_that_is_gone_is_gone(cards: list[Card], engine: Engine) -> None:
    with Current.set(tenant_id="1"):
        data = enqueued(cards[0])
    with engine.begin() as connection:
        connection.execute(delete(Card.__table__))
    outcome = execute(data)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RecordGone)


def test_in_system_scope_it_is_an_argument(cards: list[Card]) -> None:
    with Current.system("test"):
        assert show.perform_now(cards[1]) == "b"
