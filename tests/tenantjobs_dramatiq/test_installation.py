from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_dramatiq
import tenantjobs_sqlalchemy
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError
from tenantjobs_dramatiq.middleware import TenantMiddleware


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    made = StubBroker()
    dramatiq.set_broker(made)
    yield made
    made.close()


def test_it_is_first_in_the_list_and_once(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker)
    tenantjobs_dramatiq.install(broker)
    assert [isinstance(each, TenantMiddleware) for each in broker.middleware].index(True) == 0
    assert sum(isinstance(each, TenantMiddleware) for each in broker.middleware) == 1


def test_another_policy_is_refused(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker)
    with pytest.raises(ConfigurationError, match="decide for one"):
        tenantjobs_dramatiq.install(broker, after_commit=True)
    with pytest.raises(ConfigurationError, match="required, optional, observe"):
        tenantjobs_dramatiq.install(broker, tenancy="requierd")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes a Dramatiq broker"):
        tenantjobs_dramatiq.install("broker")  # type: ignore[arg-type]


WAYS: dict[str, Callable[[Any], object]] = {
    "send": lambda actor: actor.send(),
    "delay": lambda actor: actor.send_with_options(delay=1),
    "pipeline": lambda actor: (actor.message() | actor.message()).run(),
    "group": lambda actor: dramatiq.group([actor.message()]).run(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_messages_wait_for_the_commit(broker: StubBroker, way: str, ending: str) -> None:
    tenantjobs_dramatiq.install(broker, after_commit=True)
    sessions = sessionmaker(create_engine("sqlite://"), class_=type("Own", (Session,), {}))
    tenantjobs_sqlalchemy.install(sessions)

    @dramatiq.actor(broker=broker)
    def work() -> None: ...

    def waiting() -> list[bytes]:
        return [data for each in broker.queues.values() for data in list(each.queue)]

    with suppress(ZeroDivisionError), sessions.begin() as session:
        session.execute(text("create table it (id integer)"))
        with Current.set(tenant_id="acme"):
            WAYS[way](work)
        assert waiting() == []
        if ending == "rollback":
            raise ZeroDivisionError
    assert [b'"tenant_id":"acme"' in each for each in waiting()] == ([True] if ending == "commit" else [])
