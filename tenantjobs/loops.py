"""One event loop in a thread of its own, for async jobs that are performed from synchronous code.

It is kept for the life of the process: connections of an async engine belong to the loop that opened them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of ``coroutine``, run on the shared loop in a copy of the caller's context."""
    loop = shared()
    if _is_running(loop):
        # This thread is the loop's own: waiting for it here would be for ever.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, asyncio.run, coroutine).result()
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def shared() -> asyncio.AbstractEventLoop:
    """The loop, started on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="tenantjobs-loop", daemon=True).start()
        return _loop


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _forget() -> None:
    # The thread of the loop does not survive a fork.
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
