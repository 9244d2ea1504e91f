"""A process that has imported what tests import, and forks for each run of some of them.

``python -m tests.mutate.server`` in a copy of the tree: a line of JSON asks for tests, a line answers whether they
passed. What is imported beforehand is what has no line of ours.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

IMPORTED_BEFORE = (
    "asyncio",
    "cryptography",
    "hypothesis",
    "msgspec",
    "pytest_asyncio.plugin",
    "rich",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "xdist.plugin",
    "yaml",
)
# Whether a test passes is all that is asked: no assertion has to explain itself.
OPTIONS = ("-x", "-q", "-n0", "--assert=plain", "-p", "no:cacheprovider")


def serve() -> None:
    """Answer until the end of standard input."""
    for module in IMPORTED_BEFORE:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # which each child would otherwise go through again
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        passed = _run(asked["tests"], asked["seconds"], keep=asked["keep"])
        print(json.dumps({"passed": passed, "seconds": time.monotonic() - began}), flush=True)


def _run(tests: Sequence[str], seconds: float, *, keep: bool) -> bool:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        sys.dont_write_bytecode = not keep
        with open("last-run.txt", "w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.close(0)
        code = 1
        try:
            code = pytest.main([*OPTIONS, *tests])
        finally:
            os._exit(code)
    with suppress(ProcessLookupError, PermissionError):
        os.setpgid(child, child)
    status = _wait(child, seconds)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test has started and left
    return status == 0


def _wait(child: int, seconds: float) -> int:
    """How it exited; what is not done in time hangs, which its tests would have noticed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


if __name__ == "__main__":
    serve()
