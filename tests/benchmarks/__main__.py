"""``make bench``: what the layer costs in process and on brokers, and how fast the database queue is beside its peers.

Writes ``build/layer.json``, and ``build/bench.json`` of the last. ``python -m tests.benchmarks scoping`` measures one
group alone, and ``python -m tests.benchmarks speed`` the queue, with options of its own.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tenantjobs import Current, adapter, job, testing
from tenantjobs.execution import execute
from tenantjobs.message import Message
from tests.benchmarks.carriage import carriage_cost
from tests.benchmarks.measure import Row, per_call, process_cpu
from tests.benchmarks.scoping import scoping_cost
from tests.benchmarks.speed.command import main as speed

OUTPUT = Path("build/layer.json")


@job
def nothing(number: int) -> None: ...


def main(*arguments: str) -> int:
    """Measure the groups that are named, or all of them and the speed of the queue."""
    if arguments[:1] == ("speed",):
        return speed(arguments[1:])
    missed = groups(*arguments)
    return missed if arguments else speed([]) or missed


def groups(*names: str) -> int:
    """1 if a goal is missed."""
    if unknown := set(names) - set(GROUPS):
        sys.exit(f"there is no group {', '.join(sorted(unknown))}: name some of {', '.join(GROUPS)}, or speed")
    print(
        f"Python {platform.python_version()}, {platform.machine()}, medians; spread: the middle half of the figures\n"
    )
    print(f"{'':58} {'':>12}      spread  goal")
    rows = []
    for row in (row for name, group in GROUPS.items() if not names or name in names for row in group()):
        goal = "" if row.goal is None else f"{'>=' if row.more_is_better else '<='} {row.goal:g} {row.verdict}"
        print(f"{row.name:58} {row.value:>12,.2f} {row.unit:4} {row.spread:6,.2f}  {goal}", flush=True)
        rows.append(row)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_bytes(msgspec.json.format(msgspec.json.encode({row.name: row for row in rows})))
    return int(any(row.verdict == "MISSED" for row in rows))


def import_cost() -> Iterator[Row]:
    bare, _ = process_cpu("pass")
    for statement, goal in (
        ("import tenantjobs", 45.0),
        ("import msgspec, logging", None),  # what the next row stands on
        ("from tenantjobs import Current, configure, job, later", None),
    ):
        value, spread = process_cpu(statement)
        yield Row(name=f"{statement}: CPU over bare", value=value - bare, unit="ms", spread=spread, goal=goal)


def context_cost() -> Iterator[Row]:
    def capture_and_restore() -> None:
        with Current.restored(Current.capture()):
            pass

    with Current.set(tenant_id="acme"):
        value, spread = per_call(capture_and_restore)
        yield Row(name="Current: capture + restore", value=value, unit="us", spread=spread, goal=5)
        value, spread = per_call(lambda: Current.tenant_id)
        yield Row(name="Current: read tenant_id", value=value, unit="us", spread=spread)

    def enter() -> None:
        with Current.set(tenant_id="acme"):
            pass

    value, spread = per_call(enter)
    yield Row(name="Current: set and leave", value=value, unit="us", spread=spread)


def door_cost() -> Iterator[Row]:
    with testing.override(adapter="test"), Current.set(tenant_id="acme"):
        target = adapter.configured()
        call = nothing.call(7)
        value, spread = per_call(lambda: Message(call, target), calls=5_000)
        yield Row(name="enqueue: a call frozen and sealed", value=value, unit="us", spread=spread)
        data = Message(call, target).seal().encode()
    value, spread = per_call(lambda: execute(data), calls=5_000)
    yield Row(name="perform: the door around a job that does nothing", value=value, unit="us", spread=spread)


GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "import": import_cost,
    "context": context_cost,
    "door": door_cost,
    "scoping": scoping_cost,
    "carriage": carriage_cost,
}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
