from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tenantjobs import Current, adapter, job, testing, together
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnqueueError
from tests.tenantjobs_db.making import envelope


class Recorder:
    """A queue that notes what it is given at once; the first time, it waits to be released."""

    capabilities = Capabilities(bulk=True)

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.given: list[list[str]] = []
        self.release = threading.Event()
        self._refused = set(refused)

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.release.wait(10)
        self.given.append([each.id for each in envelopes])
        if self._refused & {each.id for each in envelopes}:
            raise EnqueueError("it is refused")

    def transaction(self) -> AbstractContextManager[object]:
        raise NotImplementedError

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


async def test_those_who_come_while_the_first_is_written_leave_together() -> None:
    queue, jobs = Recorder(), [envelope() for _ in range(5)]
    first = asyncio.create_task(together.enqueue(jobs[0], queue))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(together.enqueue(each, queue)) for each in jobs[1:]]
    await asyncio.sleep(0)
    queue.release.set()
    await asyncio.gather(first, *others)

    assert queue.given == [[jobs[0].id], [each.id for each in jobs[1:]]]


async def test_one_that_is_refused_fails_alone() -> None:
    jobs = [envelope() for _ in range(4)]
    queue = Recorder(refused=[jobs[2].id])
    waiting = [asyncio.create_task(together.enqueue(each, queue)) for each in jobs]
    await asyncio.sleep(0)
    queue.release.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [type(None), type(None), EnqueueError, type(None)]


async def test_a_caller_that_no_longer_waits_keeps_nobody_from_leaving() -> None:
    queue, jobs = Recorder(), [envelope() for _ in range(3)]
    waiting = [asyncio.create_task(together.enqueue(each, queue)) for each in jobs]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    waiting[1].cancel()
    queue.release.set()
    await waiting[2]

    assert sorted(each for batch in queue.given for each in batch) == sorted(each.id for each in jobs)


def test_event_loops_do_not_wait_for_each_other() -> None:
    queue = Recorder()
    queue.release.set()
    for each in (envelope(), envelope()):
        asyncio.run(together.enqueue(each, queue))

    assert len(queue.given) == 2


@pytest.mark.parametrize("callers", [1, 30])
def test_jobs_are_in_the_queue_when_their_call_returns(callers: int, tmp_path: Path) -> None:
    @job
    def noted(number: int) -> None: ...

    async def call(number: int) -> None:
        with Current.set(tenant_id=f"t{number}"):
            handle = await noted.aperform_later(number)
        assert handle.enqueued

    async def calls() -> None:
        await asyncio.gather(*map(call, range(callers)))

    with testing.override(adapter="db", db={"url": f"sqlite:///{tmp_path / 'jobs.db'}"}):
        asyncio.run(calls())
        assert adapter.configured().queue.counts() == {"ready": callers}  # type: ignore[attr-defined]  # of db
