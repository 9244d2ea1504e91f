"""Mistakes that both checkers must catch, on exactly the marked lines. Checked, never run."""

from __future__ import annotations

from tenantjobs import Batch, batch, chain, job


@job
def read(line: str) -> None: ...


batch(on_succes=read)  # error
batch(on_success=print)  # error
batch(properties=[1])  # error
batch(parent="b")  # error
chain(read)  # error
chain(read.call(1))  # error
Batch.find(7)  # error


def fill(made: Batch) -> None:
    made.add(read)  # error
