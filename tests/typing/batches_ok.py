"""Batches and chains as users write them, with the exact types. Checked, never run."""

from __future__ import annotations

from typing import assert_type

from tenantjobs import Batch, BatchState, Call, Chain, Handle, Job, batch, chain, current_batch, job


@job
def read(line: str) -> None: ...


@job
def imported(batch: Batch) -> None: ...


class Report(Job):
    def perform(self) -> None: ...


def fill() -> None:
    with batch(on_success=imported, on_failure=read.call("x"), on_finish=Report, properties={"file": "a"}) as made:
        assert_type(made, Batch)
        assert_type(read.perform_later("a"), Handle)
    with batch(on_success=imported.set(wait=60), parent=current_batch()):
        pass
    assert_type(made.state(), BatchState)
    assert_type(made.total, int)
    assert_type(made.add(read.call("b")), list[Handle])
    assert_type(Batch.find("x"), Batch | None)
    assert_type(current_batch(), Batch | None)


async def afill() -> None:
    async with batch(description="import") as made:
        await read.aperform_later("a")
    assert_type(await made.aadd(read.call("b")), list[Handle])
    assert_type(await made.astate(), BatchState)
    assert_type(await Batch.afind("x"), Batch | None)
    assert_type(await chain(read.call("a")).aperform_later(), Handle)


assert_type(read.call("a"), Call)
assert_type(chain(read.call("a"), Report.call()), Chain)
assert_type(chain(read.call("a")).perform_later(), Handle)
