"""A job that waits too long in a session which only reads is reported, once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from inspect import currentframe
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import Current, job
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import lingering
from tests.tenantjobs_sqlalchemy.conftest import Order, Recording

SOON = 0.05


@job(name="tests.lingering.note")
def note(value: Any) -> None: ...


class Reports(logging.Handler):
    """The warnings of the watching thread, and a way to wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName == "tenantjobs-lingering":
            self.messages.append(record.getMessage())
            self.came.set()


@pytest.fixture
def reports() -> Iterator[Reports]:
    handler = Reports()
    lingering.logger.addHandler(handler)
    yield handler
    lingering.logger.removeHandler(handler)


@pytest.fixture
def hasty(engine: Engine, elsewhere: Recording) -> Iterator[sessionmaker[Session]]:
    """Its sessions are reported soon."""
    maker = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(maker, warn_after=SOON)
    with Current.set(tenant_id="acme"):
        yield maker
    tenantjobs_sqlalchemy.uninstall()


def watched_again(hasty: sessionmaker[Session], reports: Reports) -> None:
    """Wait for the report of another session, which was opened after all others."""
    with hasty() as session:
        session.scalars(select(Order)).all()
        note.perform_later("the last one")
        assert reports.came.wait(10)


def test_the_report_names_job_tenant_and_the_line_of_the_call(
    hasty: sessionmaker[Session], reports: Reports, elsewhere: Recording
) -> None:
    with hasty() as session:
        session.scalars(select(Order)).all()
        handle, line = note.perform_later(1), currentframe().f_lineno  # type: ignore[union-attr]  # CPython has frames
        note.perform_later(2)

        assert reports.came.wait(10)

    [message] = reports.messages
    assert f"job tests.lingering.note id={handle.job_id} tenant=acme" in message
    assert f"{os.path.basename(__file__)}:{line}, and 1 more" in message
    assert elsewhere.sent == [1, 2]


@pytest.mark.parametrize(
    "prevent",
    [
        pytest.param(lambda session, handle: session.close(), id="closed"),
        pytest.param(lambda session, handle: session.rollback(), id="rolled back"),
        pytest.param(lambda session, handle: handle.cancel(), id="taken back"),
        pytest.param(lambda session, handle: session.execute(insert(Order).values(name="a")), id="wrote"),
    ],
)
def test_nothing_is_reported_that_waits_no_more_or_for_a_reason(
    hasty: sessionmaker[Session], reports: Reports, prevent: Callable[..., object]
) -> None:
    with hasty() as session:
        session.scalars(select(Order)).all()
        handle = note.perform_later(1)
        prevent(session, handle)
        watched_again(hasty, reports)

        assert len(reports.messages) == 1
        assert handle.job_id not in reports.messages[0]
        session.rollback()


def test_the_jobs_of_a_savepoint_are_reported_too(hasty: sessionmaker[Session], reports: Reports) -> None:
    with hasty() as session:
        session.begin_nested()
        note.perform_later(1)

        assert reports.came.wait(10)


def test_it_can_be_switched_off_for_some_sessions(
    engine: Engine, hasty: sessionmaker[Session], reports: Reports
) -> None:
    patient = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(patient, warn_after=None)
    with patient() as session:
        session.scalars(select(Order)).all()
        handle = note.perform_later(1)
        watched_again(hasty, reports)

        assert len(reports.messages) == 1
        session.rollback()

    assert handle.job_id not in reports.messages[0]


def test_no_thread_is_left_once_nothing_waits(
    hasty: sessionmaker[Session], reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "_watch", lingering.Watch())  # without the sessions of other tests
    watched_again(hasty, reports)
    thread = lingering._watch._thread
    if thread is not None:
        thread.join(10)

    assert lingering._watch._thread is None


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="warn_after"):
        tenantjobs_sqlalchemy.install(Session, warn_after=seconds)
