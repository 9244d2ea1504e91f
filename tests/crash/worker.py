"""Workers and producers that are forked with the libraries already imported."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from importlib import reload
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

from tenantjobs import faults
from tests.forked import context


def start_worker(environment: Mapping[str, str], *options: str) -> BaseProcess:
    """``tenantjobs work`` under these variables; it imports the application, which nobody has imported before it."""
    return _started(_work, environment, *options)


def start_python(environment: Mapping[str, str], code: str) -> BaseProcess:
    """``python -c`` under these variables."""
    return _started(_run, environment, code)


def exit_code(process: BaseProcess, seconds: float = 30) -> int | None:
    """What the process ended with, None if it has not: less than zero is a signal."""
    process.join(seconds)
    return process.exitcode


def _started(target: object, environment: Mapping[str, str], *arguments: str) -> BaseProcess:
    is_there = context.Event()
    process = context.Process(target=_in, args=(is_there, target, dict(environment), *arguments))
    process.start()
    is_there.wait(30)
    return process


def _in(is_there: Event, target: object, environment: Mapping[str, str], *arguments: str) -> None:
    # Told to stop before it is up, where others have done all the work: it ends in peace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    is_there.set()
    os.environ.update(environment)
    reload(faults)  # the variable was read in the fork server
    target(*arguments)  # type: ignore[operator]  # a function


def _work(*options: str) -> None:
    from tenantjobs.cli import main

    sys.argv = ["tenantjobs"]
    main(["work", *options], prog_name="tenantjobs")


def _run(code: str) -> None:
    exec(code, {"__name__": "__main__"})  # noqa: S102  # of these tests
