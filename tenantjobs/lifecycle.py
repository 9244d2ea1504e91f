"""What an application does when a process of the queue starts, is stopped, and ends.

@lifecycle.on_worker_start
def warm_up(process): ...

``on_start``, ``on_stop`` and ``on_exit`` are those of the supervisor; workers, dispatchers, schedulers and gates have
their own, as ``on_worker_start`` and ``on_dispatcher_stop``. *start*: it is registered, and has claimed nothing yet.
*stop*: it was asked to end, and what runs still does. *exit*: it has signed off. There may be several for each; they
run in order, with the ``Process`` if they take one. What one raises is logged and reported, and stops no process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tenantjobs import loops, parameters, reporting

logger = logging.getLogger("tenantjobs.lifecycle")

F = TypeVar("F", bound=Callable[..., Any])


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The process that a hook runs in; ``threads`` and ``queues`` are those of a worker."""

    kind: str
    id: str
    threads: int | None = None
    queues: tuple[str, ...] = ()


class Hooks:
    """Decorates functions that run at one moment in one kind of process."""

    def __init__(self, kind: str, moment: str) -> None:
        self._kind = kind
        self._moment = moment
        self._functions: list[Callable[..., Any]] = []

    def __call__(self, function: F) -> F:
        self._functions.append(function)
        return function

    def run(self, process: Process) -> None:
        """Run them all, whatever they raise."""
        for function in list(self._functions):
            try:
                _call(function, process)
            except Exception as error:
                logger.error(
                    "on_%s_%s: %r failed in %s %s: %s",
                    *(self._kind, self._moment, function, process.kind, process.id, error),
                    exc_info=error,
                )
                reporting.tell(error, handled=True, context={"process": process.kind, "moment": self._moment})


def run(moment: str, process: Process) -> None:
    """Run the hooks of this moment in this kind of process."""
    HOOKS[process.kind, moment].run(process)


def _call(function: Callable[..., Any], process: Process) -> None:
    arguments = (process,) if parameters.positionals(function) else ()
    if parameters.is_async(function):
        loops.run(function(*arguments))
    else:
        function(*arguments)


on_start = Hooks("supervisor", "start")
on_stop = Hooks("supervisor", "stop")
on_exit = Hooks("supervisor", "exit")
on_worker_start = Hooks("worker", "start")
on_worker_stop = Hooks("worker", "stop")
on_worker_exit = Hooks("worker", "exit")
on_dispatcher_start = Hooks("dispatcher", "start")
on_dispatcher_stop = Hooks("dispatcher", "stop")
on_dispatcher_exit = Hooks("dispatcher", "exit")
on_scheduler_start = Hooks("scheduler", "start")
on_scheduler_stop = Hooks("scheduler", "stop")
on_scheduler_exit = Hooks("scheduler", "exit")
on_gate_start = Hooks("gate", "start")
on_gate_stop = Hooks("gate", "stop")
on_gate_exit = Hooks("gate", "exit")

HOOKS = {
    ("supervisor", "start"): on_start,
    ("supervisor", "stop"): on_stop,
    ("supervisor", "exit"): on_exit,
    ("worker", "start"): on_worker_start,
    ("worker", "stop"): on_worker_stop,
    ("worker", "exit"): on_worker_exit,
    ("dispatcher", "start"): on_dispatcher_start,
    ("dispatcher", "stop"): on_dispatcher_stop,
    ("dispatcher", "exit"): on_dispatcher_exit,
    ("scheduler", "start"): on_scheduler_start,
    ("scheduler", "stop"): on_scheduler_stop,
    ("scheduler", "exit"): on_scheduler_exit,
    ("gate", "start"): on_gate_start,
    ("gate", "stop"): on_gate_stop,
    ("gate", "exit"): on_gate_exit,
}
