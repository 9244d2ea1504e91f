from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from tenantjobs import job, testing
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import WorkerMiddleware, embedded, lifespan
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.embedding import Embedded
from tenantjobs_db.workplace import Workplace

OPTIONS: dict[str, Any] = {"threads": 2, "polling_interval": 0.02}


@pytest.fixture
def note(adapter: DatabaseAdapter) -> Any:
    @job
    def note() -> None: ...

    return note


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tenantjobs-worker"]


def test_a_worker_works_while_the_block_runs(adapter: DatabaseAdapter, note: Any) -> None:
    with embedded(**OPTIONS):
        note.perform_later()
        until(lambda: adapter.queue.counts() == {"finished": 1})

    note.perform_later()
    assert workers() == []
    assert adapter.queue.counts() == {"finished": 1, "ready": 1}
    assert adapter.processes() == []


async def test_an_async_block_does_not_hold_the_loop_up(adapter: DatabaseAdapter, note: Any) -> None:
    async with embedded(**OPTIONS):
        await note.aperform_later()
        await asyncio.to_thread(until, lambda: adapter.queue.counts() == {"finished": 1})

    assert workers() == []


@pytest.mark.parity("1b.38")
async def test_an_asgi_application_has_it_for_its_lifespan(adapter: DatabaseAdapter, note: Any) -> None:
    application = Starlette(lifespan=lifespan(**OPTIONS))

    async with application.router.lifespan_context(application):
        await note.aperform_later()
        await asyncio.to_thread(until, lambda: adapter.queue.counts() == {"finished": 1})

    assert workers() == []


@pytest.mark.parity("1b.38")
def test_a_wsgi_application_has_it_from_its_first_request(adapter: DatabaseAdapter, note: Any) -> None:
    application = WorkerMiddleware(lambda environ, start_response: [b"hello"], **OPTIONS)
    assert workers() == []
    try:
        assert [list(application({}, None)) for _ in range(3)] == [[b"hello"]] * 3
        assert len(workers()) == 1
        note.perform_later()
        until(lambda: adapter.queue.counts() == {"finished": 1})
    finally:
        application.embedded.stop()


def test_a_forked_child_starts_its_own(adapter: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded(**OPTIONS) as inside:
        monkeypatch.setattr("tenantjobs_db.embedding.os.getpid", lambda: -1)
        inside.stop()  # that of the parent is not the child's to stop
        assert len(workers()) == 1
        monkeypatch.undo()


def test_what_has_not_finished_in_time_is_given_back(adapter: DatabaseAdapter) -> None:
    started, release = threading.Event(), threading.Event()

    @job
    def held() -> None:
        started.set()
        release.wait(20)

    held.perform_later()
    with embedded(shutdown_timeout=0.1, **OPTIONS):
        assert started.wait(10)

    assert adapter.queue.counts() == {"ready": 1}
    release.set()


def test_a_worker_that_fails_is_started_again(adapter: DatabaseAdapter, note: Any, monkeypatch: Any) -> None:
    failures = iter([RuntimeError("no"), None])
    run = Workplace.run

    def fails_once(self: Workplace, *arguments: Any) -> int:
        if (error := next(failures)) is not None:
            raise error
        return run(self, *arguments)

    monkeypatch.setattr(Workplace, "run", fails_once)
    with embedded(**OPTIONS):
        note.perform_later()
        until(lambda: adapter.queue.counts() == {"finished": 1})


@pytest.mark.parametrize(
    ("options", "message"), [({"thread": 3}, "thread"), ({"drain": True}, "drain and health are for a process")]
)
def test_an_option_that_says_nothing_here_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        embedded(**options)


def test_a_queue_without_such_a_worker_is_refused() -> None:
    with testing.override(adapter="test"), pytest.raises(ConfigurationError, match="only 'db' has"):
        with contextlib.ExitStack() as stack:
            stack.enter_context(Embedded())
