"""Every way to enqueue, with a transaction around it that commits, and one that rolls back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq import Callback, Queue, Retry
from rq.decorators import job as job_decorator
from rq.group import Group
from rq.job import Job
from rq.worker import SimpleWorker
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs.current import Current
from tests.tenantjobs_rq import servers, shop
from tests.tenantjobs_rq.servers import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

Publish = Callable[[Shop], list[Job]]

WAYS: dict[str, Publish] = {
    "enqueue": lambda here: [here.queue.enqueue(shop.who)],
    "by name": lambda here: [here.queue.enqueue("tests.tenantjobs_rq.shop.who")],
    "enqueue_call": lambda here: [here.queue.enqueue_call(shop.who, at_front=True)],
    "create_job": lambda here: [here.queue.enqueue_job(here.queue.create_job(shop.who))],
    "decorator": lambda here: [job_decorator(here.queue, connection=here.connection)(shop.who).delay()],
    "enqueue_in": lambda here: [here.queue.enqueue_in(timedelta(0), shop.who)],
    "enqueue_at": lambda here: [here.queue.enqueue_at(datetime.now(UTC), shop.who)],
    "enqueue_many": lambda here: here.queue.enqueue_many([Queue.prepare_data(shop.who)] * 3),
    "enqueue_many at the front": lambda here: here.queue.enqueue_many([Queue.prepare_data(shop.who, at_front=True)]),
    "group": lambda here: _group(here).enqueue_many(here.queue, [Queue.prepare_data(shop.who)] * 2),
    "dependents": lambda here: _dependents(here),
    "many dependents": lambda here: _many_dependents(here),
    "dependents of several": lambda here: _dependents_of_several(here),
    "retry": lambda here: [here.queue.enqueue(shop.who, retry=Retry(max=1, interval=5))],
    "callbacks": lambda here: [here.queue.enqueue(shop.who, on_success=Callback(shop.on_success))],
}


def _group(here: Shop) -> Group:
    return Group.create(here.connection, name=here.name)


def _dependents(here: Shop) -> list[Job]:
    first = here.queue.enqueue(shop.who)
    return [first, here.queue.enqueue(shop.who, depends_on=first)]


def _many_dependents(here: Shop) -> list[Job]:
    first = here.queue.enqueue(shop.who)
    return [first, *here.queue.enqueue_many([Queue.prepare_data(shop.who, depends_on=first)])]


def _dependents_of_several(here: Shop) -> list[Job]:
    first, second = here.queue.enqueue(shop.who), here.queue.enqueue(shop.who)
    return [first, second, here.queue.enqueue(shop.who, depends_on=[first, second])]


@pytest.fixture
def begin() -> Iterator[Callable[[], Any]]:
    """Opens a transaction that has written something."""
    engine = create_engine("sqlite://")
    factory: sessionmaker[Session] = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(factory)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE notes (id INTEGER)"))
    yield factory.begin
    engine.dispose()


@pytest.fixture
def here() -> Iterator[Shop]:
    with servers.queue() as found:
        yield found


def written(session: Session) -> None:
    session.execute(text("INSERT INTO notes VALUES (1)"))


def stored(here: Shop, jobs: list[Job]) -> int:
    return sum(Job.exists(job.id, here.connection) for job in jobs)


def work(here: Shop) -> None:
    worker = SimpleWorker([here.queue], connection=here.connection)
    for job_id in here.queue.scheduled_job_registry.get_job_ids():
        here.queue.scheduled_job_registry.remove(job_id)
        here.queue._enqueue_job(Job.fetch(job_id, connection=here.connection))
    worker.log.setLevel(logging.ERROR)
    worker.work(burst=True, logging_level="ERROR")


@pytest.mark.parametrize("way", WAYS)
def test_what_commits_leaves_with_the_commit(here: Shop, install: Any, begin: Any, acme: Any, way: str) -> None:
    install(after_commit=True)
    with begin() as session:
        written(session)
        with acme:
            sent = WAYS[way](here)
        before = stored(here, sent)
    after = stored(here, sent)
    work(here)

    assert (before, after) == (0, len(sent))
    assert [here.got(each.id) for each in sent] == ["acme"] * len(sent)


@pytest.mark.parametrize("way", WAYS)
def test_what_rolls_back_is_dropped(here: Shop, install: Any, begin: Any, acme: Any, way: str) -> None:
    install(after_commit=True)
    sent: list[Job] = []
    with suppress(ZeroDivisionError), begin() as session, acme:
        written(session)
        sent += WAYS[way](here)
        raise ZeroDivisionError

    assert sent
    assert stored(here, sent) == 0
    assert here.queue.count == 0


@pytest.mark.parametrize("way", WAYS)
def test_without_a_transaction_it_leaves_at_the_call(here: Shop, install: Any, acme: Any, way: str) -> None:
    install(after_commit=True)
    with acme:
        sent = WAYS[way](here)

    assert stored(here, sent) == len(sent)


@pytest.mark.parametrize("way", WAYS)
def test_unless_asked_for_it_leaves_at_the_call(here: Shop, install: Any, begin: Any, acme: Any, way: str) -> None:
    install()
    with begin() as session, acme:
        written(session)
        sent = WAYS[way](here)

        assert stored(here, sent) == len(sent)


def test_arguments_are_those_of_the_call(here: Shop, install: Any, begin: Any, acme: Any) -> None:
    install(after_commit=True)
    many = ["first"]
    with begin() as session, acme:
        written(session)
        one = here.queue.enqueue(shop.who, many)
        (other,) = here.queue.enqueue_many([Queue.prepare_data(shop.who, args=(many,))])
        many.append("too late")

    assert Job.fetch(one.id, connection=here.connection).args[0] == ["first"]
    assert Job.fetch(other.id, connection=here.connection).args[0] == ["first"]


def test_two_of_one_id_are_refused_at_the_call(here: Shop, install: Any, begin: Any, acme: Any) -> None:
    install(after_commit=True)
    with begin() as session, acme:
        written(session)
        with pytest.raises(ValueError, match="appears more than once"):
            here.queue.enqueue_many([Queue.prepare_data(shop.who, job_id=here.name)] * 2)

    assert here.queue.count == 0


def test_what_is_given_a_pipeline_leaves_with_it(here: Shop, install: Any, begin: Any, acme: Any) -> None:
    install(after_commit=True)
    with begin() as session, acme:
        written(session)
        with here.connection.pipeline() as pipeline:
            sent = [
                here.queue.enqueue(shop.who, pipeline=pipeline),
                *here.queue.enqueue_many([Queue.prepare_data(shop.who)], pipeline=pipeline),
            ]
            pipeline.execute()

        assert stored(here, sent) == 2


def test_a_group_knows_the_jobs_that_waited(here: Shop, install: Any, begin: Any, acme: Any) -> None:
    install(after_commit=True)
    group = _group(here)
    with begin() as session, acme:
        written(session)
        sent = group.enqueue_many(here.queue, [Queue.prepare_data(shop.who)] * 2)

    assert {job.id for job in group.get_jobs()} == {job.id for job in sent}


def test_a_retry_of_the_running_job_does_not_wait(here: Shop, install: Any, begin: Any) -> None:
    install(after_commit=True)
    with Current.set(tenant_id="acme"):
        sent = here.queue.enqueue(shop.failing_until, 3, retry=Retry(max=2))
    with begin() as session:
        written(session)
        work(here)

        assert here.got(sent) == ["acme"]
