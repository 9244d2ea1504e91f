from __future__ import annotations

import json
import threading
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import health, worker
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.health import Health
from tenantjobs_db.worker import Worker
from tests.tenantjobs_db.making import free_port


def ask(port: int, path: str) -> tuple[int, Any]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("found", "live", "ready"),
    [
        (Health(live=True, ready=True), 200, 200),
        (Health(live=True, ready=False, reason="it is quiet"), 200, 503),
        (Health(live=False, ready=False), 503, 503),
    ],
)
def test_live_and_ready_are_answered_by_their_status(found: Health, live: int, ready: int) -> None:
    port = free_port()
    told = {"live": found.live, "ready": found.ready, "reason": found.reason}

    with health.served(("127.0.0.1", port), lambda: found):
        assert ask(port, "/live") == (live, told)
        assert ask(port, "/ready?verbose=1") == (ready, told)
        assert ask(port, "/other")[0] == 404


def test_a_port_that_is_taken_is_refused() -> None:
    port = free_port()
    well = Health(live=True, ready=True)

    with health.served(("127.0.0.1", port), lambda: well):
        with pytest.raises(ConfigurationError, match=f"--health 127.0.0.1:{port} cannot be listened to"):
            with health.served(("127.0.0.1", port), lambda: well):
                raise AssertionError


def test_a_worker_is_ready_while_it_claims_and_the_database_hears_of_it(
    adapter: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Worker(adapter.database, adapter.settings, WorkOptions(polling_interval=0.02))
    assert not found.health().ready
    thread = threading.Thread(target=found.run)
    thread.start()
    until = time.monotonic() + 10
    while not found.health().ready:
        assert time.monotonic() < until
        time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(found._lease, "_renewed", time.monotonic() - 61)
        assert found.health() == Health(live=True, ready=False, reason="the database does not take its heartbeats")
    with monkeypatch.context() as patch:
        patch.setattr(worker, "LIVE", -1)
        assert found.health() == Health(live=False, ready=False)
    found.quiet()
    assert found.health() == Health(live=True, ready=False, reason="it is quiet")
    found.stop()
    assert found.health() == Health(live=True, ready=False, reason="it stops")
    thread.join(10)
