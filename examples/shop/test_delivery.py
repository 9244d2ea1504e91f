"""What the shop promises about deliveries, tested without a server and without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import StaticPool, create_engine, select
from sqlalchemy.orm import Session as Connected

from examples.shop import delivery
from examples.shop.current import Current
from examples.shop.db import Session
from examples.shop.delivery import Delivery, announce
from examples.shop.models import Account, Base, Webhook
from tenantjobs import testing
from tenantjobs.testing import assert_enqueued_with, assert_no_enqueued_jobs, assert_performed_jobs

answers: list[int] = []
received: list[httpx.Request] = []


def answer(request: httpx.Request) -> httpx.Response:
    received.append(request)
    return httpx.Response(answers.pop(0) if answers else 200)


@pytest.fixture(autouse=True)
def shop(tenantjobs_test: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two accounts with a webhook each, in a database that is gone with the test."""
    answers.clear()
    received.clear()
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    monkeypatch.setitem(Session.kw, "bind", engine)
    monkeypatch.setattr(delivery, "http", httpx.Client(transport=httpx.MockTransport(answer)))
    with Current.system("the accounts of the test"), Session.begin() as session:
        for name in ("acme", "globex"):
            session.add(Account(id=name, name=name.title(), secret=f"secret of {name}"))
            session.add(Webhook(id=f"hook-{name}", tenant_id=name, url=f"https://{name}.test/hook"))
    with Current.set(tenant_id="acme"):
        yield
    engine.dispose()


def comment(session: Connected) -> None:
    announce(session, Current.require_tenant(), "comment.created", {"body": "hello"})


def status() -> str:
    with Session() as session:
        return session.scalars(select(Delivery.status)).one()


def test_a_delivery_leaves_with_the_commit_for_its_own_account() -> None:
    with Session.begin() as session:
        comment(session)
        assert_no_enqueued_jobs()

    assert_enqueued_with(job=Delivery.deliver_later, queue="webhooks", tenant="acme")


def test_a_delivery_of_a_request_that_failed_does_not_leave() -> None:
    with pytest.raises(ZeroDivisionError), Session.begin() as session:
        comment(session)
        raise ZeroDivisionError

    assert_no_enqueued_jobs()


def test_the_webhook_of_the_account_hears_of_it_signed_with_its_secret() -> None:
    with Session.begin() as session:
        comment(session)
    testing.drain()

    (request,) = received
    with Session() as session:
        account = session.get_one(Account, "acme")
        assert request.headers["X-Shop-Signature"] == account.sign(request.content)
    assert (str(request.url), status()) == ("https://acme.test/hook", "delivered")


def test_a_server_with_trouble_hears_of_it_again_under_the_same_key(tenantjobs_clock: testing.Clock) -> None:
    answers[:] = [503]
    with Session.begin() as session:
        comment(session)
    testing.drain()
    assert status() == "waiting"

    tenantjobs_clock.move(timedelta(seconds=1))
    testing.drain()

    assert_performed_jobs(2, only=Delivery.deliver_later)
    assert len({request.headers["Idempotency-Key"] for request in received}) == 1
    assert status() == "delivered"


def test_a_server_that_does_not_want_it_is_not_asked_again() -> None:
    answers[:] = [410]
    with Session.begin() as session:
        comment(session)
    testing.drain()

    testing.assert_performed_with(job=Delivery.deliver_later, tenant="acme", outcome="discarded")
    assert_no_enqueued_jobs()
    assert status() == "failed"
