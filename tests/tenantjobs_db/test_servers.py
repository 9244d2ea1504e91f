"""The worker inside a web application, under the servers that people run: uvicorn and gunicorn."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tenantjobs_db.test_embedding import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
INSIDE = "tests.tenantjobs_db.inside"
SERVERS = {
    "uvicorn": ("uvicorn", f"{INSIDE}:asgi", "--uds", "socket"),
    "gunicorn": ("gunicorn", f"{INSIDE}:wsgi", "--bind", "unix:socket"),
    "gunicorn, by its hooks": ("gunicorn", f"{INSIDE}:bare", "--bind", "unix:socket", "-c", f"python:{INSIDE}"),
}


class Site:
    """A folder with a configuration and a queue, and a server that runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tenantjobs.toml").write_text(
            f'adapter = "db"\napp = "{INSIDE}"\ntenancy = "none"\n[db]\nurl = "sqlite:///jobs.db"\n'
        )

    @contextmanager
    def running(self, server: str) -> Iterator[subprocess.Popen[bytes]]:
        (self.folder / "socket").unlink(missing_ok=True)
        path = os.pathsep.join(map(str, (ROOT, ROOT / "adapters")))
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *SERVERS[server]],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ask(self, path: str) -> None:
        """A request, as soon as the server answers."""

        until(self._is_there)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.folder / "socket"))) as client:
            assert client.post(f"http://site/{path}").text == "enqueued"

    def _is_there(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.folder / "socket"))
            except OSError:
                return False
            return True

    def performed(self) -> list[str]:
        file = self.folder / "performed.txt"
        return file.read_text().split() if file.exists() else []

    def states(self) -> dict[str, int]:
        return dict(self._rows("SELECT state, count(*) FROM tj_jobs GROUP BY state"))

    def processes(self) -> list[tuple[Any, ...]]:
        return self._rows("SELECT kind FROM tj_processes")

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "jobs.db")) as connection:
            return connection.execute(query).fetchall()


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_performs_what_its_requests_enqueue_and_loses_nothing_when_it_is_stopped(
    server: str, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    with site.running(server) as process:
        site.ask("note")
        until(lambda: site.performed() == ["noted"])
        site.ask("later")
        site.ask("hold")
        until((tmp_path / "begun").exists)

        process.terminate()
        # uvicorn ends as the signal would have ended it
        assert process.wait(30) in (0, -signal.SIGTERM), (tmp_path / "log.txt").read_text()

    assert site.states() == {"finished": 1, "scheduled": 1, "ready": 1}, "what it did not finish was given back"
    assert site.processes() == []
    (tmp_path / "go").touch()
    with site.running(server):
        site.ask("note")
        until(lambda: sorted(site.performed()) == ["held", "noted", "noted"])
        until(lambda: site.states() == {"finished": 3, "scheduled": 1})
