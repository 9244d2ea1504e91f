"""Several processes under one command: they start, are stopped, and end together."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("tenantjobs.cli")

LOOK = 0.1  # seconds between two looks at the processes

Processes = Mapping[str, subprocess.Popen[bytes]]


def supervise(commands: Mapping[str, Sequence[str]], *, drain: bool) -> int:
    """Run the commands until all have ended; the first exit code that is not 0.

    SIGTERM and SIGINT are passed on as SIGTERM, each time that they come. One that ends unasked takes the others with
    it, so that whoever started us starts all of them again; with ``drain`` only one that ends in failure.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with _signals() as signals, _none_left(processes):
        for name, command in commands.items():
            # In a session of its own: Ctrl-C reaches the whole group, and would reach it a second time through us.
            processes[name] = subprocess.Popen(command, start_new_session=True)
        asked = False
        while any(process.poll() is None for process in processes.values()):
            if signals:
                signals.clear()
                asked = True
                _terminate(processes)
            elif not asked and (ended := _ended(processes, drain=drain)) is not None:
                asked = True
                logger.error("the worker %r has ended with %s: stopping all", ended, processes[ended].returncode)
                _terminate(processes)
            time.sleep(LOOK)
    return next((code for process in processes.values() if (code := _code(process, asked=asked))), 0)


def _ended(processes: Processes, *, drain: bool) -> str | None:
    ended = {name: process.returncode for name, process in processes.items() if process.poll() is not None}
    return next((name for name, code in ended.items() if code or not drain), None)


def _terminate(processes: Processes) -> None:
    for process in processes.values():
        process.terminate()


def _code(process: subprocess.Popen[bytes], *, asked: bool) -> int:
    """As a shell gives it. One that was asked to stop before it had begun has done so."""
    code = process.returncode
    if asked and code == -signal.SIGTERM:
        return 0
    return 128 - code if code < 0 else code


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Those that have come, instead of their effect."""
    come: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        come.append(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _none_left(processes: Processes) -> Iterator[None]:
    """However the block ends: a command that cannot be started leaves none of the others alone."""
    try:
        yield
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
