from __future__ import annotations

import threading
from queue import SimpleQueue

from tenantjobs_db.threads import Threads


def test_a_thread_that_is_free_is_used_again() -> None:
    threads, names = Threads(5), SimpleQueue[str]()

    def note() -> None:
        names.put(threading.current_thread().name)

    used = set()
    for _ in range(20):
        threads.start(note)
        used.add(names.get(timeout=5))
        while not threads.idle:
            pass
    assert used == {"tenantjobs-job-1"}


def test_there_are_no_more_threads_than_were_allowed() -> None:
    threads, names, release = Threads(2), SimpleQueue[str](), threading.Event()

    def wait() -> None:
        names.put(threading.current_thread().name)
        release.wait(5)

    for _ in range(4):
        threads.start(wait)
    first = {names.get(timeout=5), names.get(timeout=5)}
    assert names.empty()

    release.set()
    assert {names.get(timeout=5), names.get(timeout=5)} <= first == {"tenantjobs-job-1", "tenantjobs-job-2"}
