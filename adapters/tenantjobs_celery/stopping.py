"""Whether the worker stops. A child of prefork has only what its main process shares with it."""

from __future__ import annotations

import mmap
from importlib import import_module
from typing import Any, ClassVar

from celery.bootsteps import StartStopStep


def stopping() -> bool:
    """Whether the worker that performs in this process, or whose child this process is, has been asked to stop."""
    return Tell.told[0] != 0 or _asked_here()


class Tell(StartStopStep):  # type: ignore[misc]  # Celery has no types
    """The step of a worker that tells its children, whatever has asked it to stop, before it waits for them."""

    # One byte that a worker shares with the children that it forks later. Nothing waits for it, so that no lock can be
    # left behind by a child that is killed.
    told: ClassVar[mmap.mmap] = mmap.mmap(-1, 1)

    def create(self, parent: Any) -> None:  # noqa: ARG002  # by its name in Celery
        Tell.told = mmap.mmap(-1, 1)

    def close(self, parent: Any) -> None:  # noqa: ARG002  # by its name in Celery
        Tell.told[0] = 1


def _asked_here() -> bool:
    state = import_module("celery.worker.state")  # which producers have no need of
    return any(asked is not None and asked is not False for asked in (state.should_stop, state.should_terminate))
