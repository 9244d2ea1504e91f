"""Huey on SQLite with its defaults, results off: a job that was taken is gone, whatever becomes of it."""

from __future__ import annotations

from huey import SqliteHuey

from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts


class OfHuey:
    def __init__(self, setting: Setting, starts: Starts) -> None:
        self._setting = setting
        self._starts = starts
        self._huey = SqliteHuey("speed", filename=setting.url.removeprefix("sqlite:///"), results=False)
        self._task = self._huey.task(name="noop")(starts.record)

    def install(self) -> None: ...

    def enqueue(self, number: int) -> None:
        self._task(number)

    def enqueue_in_bulk(self, numbers: range) -> None:
        for number in numbers:  # it has no other way
            self._task(number)

    async def aopen(self) -> None: ...

    async def aenqueue(self, number: int) -> None:
        raise NotImplementedError("Huey has no coroutine that enqueues")

    def work(self) -> None:
        consumer = self._huey.create_consumer(workers=self._setting.at_once, periodic=False)
        self._starts.wait_at_the_gate()
        consumer.run()


SIDE = OfHuey
