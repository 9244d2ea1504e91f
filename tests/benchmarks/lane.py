"""One kind of session, in a process of its own: started by ``lanes``, told on its input what to measure.

What listens to sessions listens to all of them in a process, so that beside a scoped model no session is bare.
"""

from __future__ import annotations

import gc
import sys
import time
from contextlib import AbstractContextManager

import msgspec
from sqlalchemy import create_engine

from tests.benchmarks.sessions import TASKS, Base, Kind, Step


def main(name: str, url: str) -> None:
    kind = Kind(name, create_engine(url))
    Base.metadata.drop_all(kind.engine)
    Base.metadata.create_all(kind.engine)
    gc.disable()
    with kind.scope:
        for line in sys.stdin:
            task, calls = msgspec.json.decode(line)
            gc.collect()
            print(min(_timed(TASKS[task](kind)) for _ in range(calls)), flush=True)


def _timed(task: AbstractContextManager[Step]) -> float:
    """CPU microseconds of this thread: the rest is what else this machine does."""
    with task as step:
        start = time.thread_time_ns()
        step()
        return (time.thread_time_ns() - start) / 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
