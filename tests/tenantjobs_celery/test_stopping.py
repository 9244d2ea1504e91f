from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from subprocess import run

import pytest
from celery import Celery
from celery.worker import state

from tenantjobs_celery.performing import wrapper
from tenantjobs_celery.stopping import Tell, stopping
from tests.tenantjobs_celery.servers import ROOT

FORKED = """
    import os
    from tenantjobs_celery.stopping import Tell, stopping

    told, tell = os.pipe()
    worker = Tell(None)
    worker.create(None)
    before = stopping()
    if child := os.fork():
        worker.close(None)
        os.write(tell, b".")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.read(told, 1)
    os._exit(0 if (before, stopping()) == (False, True) else 1)
"""


@pytest.fixture
def tell() -> Iterator[Tell]:
    step = Tell(None)
    step.create(None)
    yield step
    step.create(None)


def test_a_worker_that_stops_tells_the_children_that_it_has_forked() -> None:
    paths = os.pathsep.join([str(ROOT / "adapters"), *filter(None, sys.path)])

    child = run([sys.executable, "-c", textwrap.dedent(FORKED)], env={**os.environ, "PYTHONPATH": paths}, check=False)

    assert child.returncode == 0


def test_a_worker_that_starts_where_another_has_stopped_does_not_stop(tell: Tell) -> None:
    tell.close(None)
    assert stopping()

    tell.create(None)

    assert not stopping()


# The exit code of a warm shutdown is 0, which is no False.
@pytest.mark.parametrize(("asked", "answer"), [(0, True), (True, True), (None, False), (False, False)])
def test_a_worker_that_was_asked_to_stop_by_a_signal_stops(
    monkeypatch: pytest.MonkeyPatch, tell: Tell, asked: int | None, answer: bool
) -> None:
    monkeypatch.setattr(state, "should_stop", asked)

    assert stopping() is answer


def test_the_workers_of_every_app_that_performs_jobs_tell() -> None:
    app = Celery("tells", set_as_current=False)

    wrapper(app)

    assert app.steps["worker"] == {Tell}
