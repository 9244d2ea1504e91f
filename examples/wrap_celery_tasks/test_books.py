"""With a real worker on a real broker: what is ordered by a tenant is in the books of that tenant."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]
    with (HERE / "worker.log").open("w") as log:
        process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log)
    yield
    process.terminate()
    process.wait()


def test_every_order_is_in_the_books_of_its_tenant() -> None:
    for tenant in ("acme", "globex"):
        subprocess.run([sys.executable, "order.py", tenant, "7"], cwd=HERE, check=True)

    until = time.monotonic() + 30
    while sum(len(lines) for lines in books().values()) < 4 and time.monotonic() < until:
        time.sleep(0.1)

    lines = ["charged order 7", "sent the invoice of order 7"]
    assert books() == {"acme": lines, "globex": lines}


def books() -> dict[str, list[str]]:
    return {path.stem: path.read_text().splitlines() for path in HERE.glob("*.txt")}
