from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tenantjobs import Abort, Current, before_enqueue, discard_on, guard, job, retry_on, testing
from tenantjobs.adapter import configured
from tenantjobs.carriage import Delivery, write
from tenantjobs.errors import EnqueueError
from tenantjobs.execution import execute
from tenantjobs.logs import ContextFilter

app_logger = logging.getLogger("tests.of.logs")


def refuse(_secret: str) -> None:
    raise Abort("not today")


@job(name="logs.works", queue="mailers")
def works(secret: str) -> None:
    app_logger.warning("from the job")


@job(name="logs.flaky", policies=[retry_on(ConnectionError, wait=60, attempts=2)])
def flaky(secret: str) -> None:
    raise ConnectionError("down")


@job(name="logs.given_up", policies=[discard_on(KeyError)])
def given_up(secret: str) -> None:
    raise KeyError("gone")


@job(name="logs.fails")
async def fails(secret: str) -> None:
    raise ValueError("no")


@job(name="logs.skipped", policies=[guard(lambda secret: False)])
def skipped(secret: str) -> None: ...


@job(name="logs.aborted", policies=[before_enqueue(refuse)])
def aborted(secret: str) -> None: ...


@pytest.fixture(autouse=True)
def at_work(memory: None, acme: None, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "tenantjobs"):
        yield


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if hasattr(record, "outcome")]


@pytest.mark.parity("1a.39")
@pytest.mark.parametrize(
    ("target", "told"),
    [
        (works, [("enqueued", "INFO"), ("started", "DEBUG"), ("finished", "INFO")]),
        (skipped, [("enqueued", "INFO"), ("started", "DEBUG"), ("finished", "INFO")]),
        (flaky, [("enqueued", "INFO"), ("started", "DEBUG"), ("retried", "INFO")]),
        (given_up, [("enqueued", "INFO"), ("started", "DEBUG"), ("discarded", "ERROR")]),
        (fails, [("enqueued", "INFO"), ("started", "DEBUG"), ("failed", "ERROR")]),
        (aborted, [("aborted", "INFO")]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_came_of_a_job_is_one_line_at_its_level(
    target: Any, told: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    target.perform_later("s3cret")
    testing.drain()

    assert [(record.outcome, record.levelname) for record in lines(caplog)] == told


@pytest.mark.parity("1a.39")
def test_a_line_says_which_job_and_how_long_as_attributes_too(caplog: pytest.LogCaptureFixture) -> None:
    handle = works.perform_later("s3cret")
    testing.drain()

    record = lines(caplog)[-1]
    assert {name: getattr(record, name) for name in ("job", "job_id", "queue", "attempt", "tenant", "outcome")} == {
        "job": "logs.works",
        "job_id": handle.job_id,
        "queue": "mailers",
        "attempt": 1,
        "tenant": "acme",
        "outcome": "finished",
    }
    assert record.wait_ms >= 0
    assert record.run_ms >= 0
    assert record.getMessage() == f"finished logs.works id={handle.job_id} queue=mailers tenant=acme attempt=1"


@pytest.mark.parity("1a.39")
def test_a_line_about_an_error_names_its_class_and_has_one_template_for_all_jobs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky.perform_later("s3cret")
    testing.drain()

    record = lines(caplog)[-1]
    assert (record.error, record.msg) == ("ConnectionError", "retried %s: %s")


@pytest.mark.parity("1a.39")
def test_arguments_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    for target in (works, flaky, given_up, fails, skipped, aborted):
        target.perform_later("s3cret")
    testing.drain()

    assert "s3cret" not in caplog.text
    assert all("s3cret" not in str(vars(record)) for record in caplog.records)


@pytest.mark.parity("1a.39")
def test_a_job_that_the_queue_refuses_is_an_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise EnqueueError("down")

    monkeypatch.setattr(type(configured()), "enqueue", down)
    with pytest.raises(EnqueueError):
        works.perform_later("s3cret")

    assert [(record.outcome, record.levelname) for record in lines(caplog)] == [("refused", "ERROR")]


def test_a_message_in_quarantine_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    execute(b"no envelope")

    assert [(record.outcome, record.levelname) for record in lines(caplog)] == [("quarantined", "ERROR")]


# The filter.


@pytest.fixture
def filtered(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[Any]]]:
    context = ContextFilter()
    caplog.handler.addFilter(context)
    yield lambda: caplog.records
    caplog.handler.removeFilter(context)


@pytest.mark.parity("1a.39")
def test_every_record_of_a_job_says_whose_and_which_it_is(filtered: Callable[[], list[Any]]) -> None:
    handle = works.perform_later("s3cret")
    testing.drain()

    (record,) = [record for record in filtered() if record.name == app_logger.name]
    assert (record.tenant, record.job, record.job_id) == ("acme", "logs.works", handle.job_id)
    assert (record.queue, record.attempt) == ("mailers", 1)


@pytest.mark.parity("1a.39")
def test_outside_of_a_job_a_record_says_the_tenant_and_no_job(filtered: Callable[[], list[Any]]) -> None:
    app_logger.warning("from a request")

    assert (filtered()[-1].tenant, filtered()[-1].job, filtered()[-1].job_id) == ("acme", None, None)


def test_a_record_of_a_native_task_says_the_tenant_that_it_came_with(filtered: Callable[[], list[Any]]) -> None:
    with Current.switch("another one", tenant_id="globex"):
        header = write(Current.capture())
    with Delivery.of(header, lambda: "task 1"):
        app_logger.warning("from a task")

    assert (filtered()[-1].tenant, filtered()[-1].job) == ("globex", None)


@pytest.mark.parity("1a.39")
def test_what_a_record_says_already_is_kept(filtered: Callable[[], list[Any]]) -> None:
    app_logger.warning("by hand", extra={"tenant": "initech"})

    assert filtered()[-1].tenant == "initech"


@pytest.mark.parity("1a.39")
def test_what_perform_now_raises_is_left_to_its_caller_and_what_it_does_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    works.perform_now("secret")
    with pytest.raises(ConnectionError):
        flaky.perform_now("secret")

    assert [(line.outcome, line.levelno) for line in lines(caplog)] == [
        ("started", logging.DEBUG),
        ("finished", logging.INFO),
        ("started", logging.DEBUG),
        ("failed", logging.INFO),
    ]
