"""A worker inside another process: beside a web application, which needs no second thing to deploy then."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

from tenantjobs import adapter, runtime
from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import ConfigurationError
from tenantjobs.http import Environ, WSGIApp
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.service import Service
from tenantjobs_db.worker import Worker

logger = logging.getLogger("tenantjobs.db")

PATIENCE = 5.0  # seconds beyond the shutdown timeout


class Embedded:
    """A worker that is alone, on threads of this process, from ``start`` to ``stop`` or for as long as a block runs.

    Jobs that have not finished when the time to stop has run out are given back, and what they do then is rolled back.
    """

    def __init__(self, **options: Any) -> None:
        try:
            self._options = WorkOptions(**options)
        except TypeError as error:
            raise ConfigurationError(
                f"a worker inside another process takes queues, threads, shutdown_timeout and polling_interval: {error}"
            ) from error
        if self._options.drain or self._options.health is not None:
            raise ConfigurationError("drain and health are for a process of its own: leave them out")
        self._starting = threading.Lock()
        self._process: int | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._worker: Worker | Service | None = None

    def start(self) -> None:
        """Start it, once in each process; a forked child has none. ``ConfigurationError`` if it cannot work."""
        if self._process == os.getpid():
            return
        with self._starting:
            if self._process == os.getpid():
                return
            runtime.load_app()
            queue = adapter.configured()
            if not isinstance(queue, DatabaseAdapter):
                raise ConfigurationError(
                    f"the adapter {runtime.settings().adapter!r} has no worker that runs inside another process: only "
                    f"'db' has"
                )
            queue.require()
            self._stopped = threading.Event()
            # It brings YAML and cron along, and may have mistakes to tell.
            scheduler = import_module("tenantjobs.recurring").Scheduler()
            self._thread = threading.Thread(
                target=self._run, args=(queue, scheduler), name="tenantjobs-worker", daemon=True
            )
            self._thread.start()
            self._process = os.getpid()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Finish what runs, within ``shutdown_timeout``, and end."""
        thread = self._thread
        if thread is None or self._process != os.getpid():
            return
        self._stopped.set()
        if self._worker is not None:
            self._worker.stop()
        thread.join(self._options.shutdown_timeout + PATIENCE)
        self._thread = self._process = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Embedded:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Embedded:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self, queue: DatabaseAdapter, scheduler: Any) -> None:
        with scheduler.running():
            self._work(queue)

    def _work(self, queue: DatabaseAdapter) -> None:
        """Nobody else would start another worker, if this one ends for a reason that nobody has thought of."""
        backoff = Backoff()
        while not self._stopped.is_set():
            self._worker = queue.workplace.worker(self._options)
            if self._stopped.is_set():
                return
            try:
                queue.workplace.run(self._worker, self._options)
                return
            except Exception:
                logger.exception("the worker inside this process has failed, and is started again")
                self._stopped.wait(backoff.next())


def embedded(**options: Any) -> Embedded:
    """A worker inside this process: ``with embedded(threads=3):``, ``async with``, or ``start()`` and ``stop()``.

    It takes ``queues``, ``threads``, ``shutdown_timeout`` and ``polling_interval``, as ``tenantjobs work`` does.
    """
    return Embedded(**options)


def lifespan(**options: Any) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan of an ASGI application with a worker inside: ``FastAPI(lifespan=lifespan(threads=3))``."""

    @asynccontextmanager
    async def worker(_app: Any) -> AsyncIterator[None]:
        async with embedded(**options):
            yield

    return worker


class WorkerMiddleware:
    """A WSGI application with a worker inside, which is started by the first request that a process of the server gets.

    By then the server has forked all it will.
    """

    def __init__(self, app: WSGIApp, **options: Any) -> None:
        self.app = app
        self.embedded = embedded(**options)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        self.embedded.start()
        return self.app(environ, start_response)
