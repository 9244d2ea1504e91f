"""What is to be seen while it runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY = 2.0  # seconds between plain lines


class View(Protocol):
    """What the conductor tells."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def said(self, event: str) -> None: ...
    def moved(self, *, answered: int, settled: int, expected: int) -> None: ...


def view(console: Console, requests: int, *, plain: bool) -> View:
    """The view that fits the console."""
    return Lines(console, requests) if plain else Bars(console, requests)


class Bars:
    """Two bars that move, events above them."""

    def __init__(self, console: Console, requests: int) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(separator=" of "),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._answered = self._bars.add_task("requests answered", total=requests)
        self._settled = self._bars.add_task("deliveries settled", total=None)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def said(self, event: str) -> None:
        self._bars.console.print(event)

    def moved(self, *, answered: int, settled: int, expected: int) -> None:
        self._bars.update(self._answered, completed=answered)
        self._bars.update(self._settled, completed=settled, total=expected)


class Lines:
    """A line now and then."""

    def __init__(self, console: Console, requests: int) -> None:
        self._console = console
        self._requests = requests
        self._begun = time.monotonic()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def said(self, event: str) -> None:
        self._console.print(f"{time.monotonic() - self._begun:5.1f} s  {event}")

    def moved(self, *, answered: int, settled: int, expected: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self.said(f"{answered:,} of {self._requests:,} requests, {settled:,} of {expected:,} deliveries settled")
