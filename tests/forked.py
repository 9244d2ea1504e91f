"""Processes that are forked from a server with the libraries already imported: they start, and die, in no time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import reload
from multiprocessing.process import BaseProcess
from pathlib import Path

from tenantjobs import faults

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "celery.bin.worker",
        "celery.concurrency.prefork",
        "celery.worker.components",
        "dramatiq.brokers.rabbitmq",
        "dramatiq.brokers.redis",
        "kombu.transport.pyamqp",
        "kombu.transport.redis",
        "pytest",
        "sqlalchemy.dialects.mysql.pymysql",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "tenantjobs.cli.work",
        "tenantjobs_celery.adapter",
        "tenantjobs_db.adapter",
        "tenantjobs_dramatiq.adapter",
        "tenantjobs_rq.adapter",
        "tenantjobs_sqlalchemy",
    ]
)


class Forked:
    """``python -m ...``, as ``subprocess.Popen`` would run it in a session of its own."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path) -> None:
        python, dash_m, module, *arguments = command
        assert (python, dash_m) == (sys.executable, "-m")
        ready = context.Event()
        self._process: BaseProcess = context.Process(
            target=_run, args=(ready, module, arguments, str(folder), dict(environment), str(log))
        )
        self._process.start()
        ready.wait(30)  # from here on it has a session to be killed with
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return code

    def terminate(self) -> None:
        self._process.terminate()


def _run(ready, module, arguments, folder, environment, log) -> None:  # type: ignore[no-untyped-def]
    # Told to stop before it is up: it ends as any process that was not asked yet.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    ready.set()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(written, standard)
    reload(faults)  # the variable was read in the fork server
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
