"""A web application with a worker inside, as the servers of ``test_servers.py`` run it: any path enqueues a job."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tenantjobs import job
from tenantjobs_db import WorkerMiddleware, embedded, lifespan

OPTIONS: dict[str, Any] = {"threads": 2, "polling_interval": 0.05, "shutdown_timeout": 0.5}


@job(name="inside.note")
def note(what: str) -> None:
    with Path("performed.txt").open("a") as file:
        file.write(f"{what}\n")


@job(name="inside.hold")
def hold() -> None:
    """It does not end before it is let go."""
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    note("held")


def enqueue(path: str) -> None:
    if path == "/hold":
        hold.perform_later()
    elif path == "/later":
        note.set(wait=3600).perform_later("later")
    else:
        note.perform_later("noted")


async def endpoint(request: Request) -> PlainTextResponse:
    enqueue(request.url.path)
    return PlainTextResponse("enqueued")


def bare(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    enqueue(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"enqueued"]


asgi = Starlette(routes=[Route("/{path}", endpoint, methods=["POST"])], lifespan=lifespan(**OPTIONS))
wsgi = WorkerMiddleware(bare, **OPTIONS)

worker = embedded(**OPTIONS)


# As in a gunicorn.conf.py
def post_worker_init(_worker: object) -> None:
    worker.start()


def worker_exit(_server: object, _worker: object) -> None:
    worker.stop()
