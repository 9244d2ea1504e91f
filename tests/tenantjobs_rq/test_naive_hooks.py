"""With hooks that come to mind first, jobs run for nobody and for the wrong tenant, on the workers of these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from rq import Callback, Retry

from tests.tenantjobs_rq import servers, shop
from tests.tenantjobs_rq.servers import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60, method="thread")]  # RQ sets the alarm of the process

Perform = Callable[[str], AbstractContextManager[Shop]]


@pytest.fixture
def performed_by(tmp_path: Path) -> Perform:
    @contextmanager
    def performed_by(name: str) -> Iterator[Shop]:
        command = ("worker", "-w", "rq.worker.SimpleWorker")
        with servers.queue() as found:
            with servers.worker(found, tmp_path / "log", *command, job_class=f"tests.tenantjobs_rq.naive.{name}"):
                yield found

    return performed_by


def test_a_tenant_around_the_function_alone_is_lost_in_children_and_callbacks(performed_by: Perform) -> None:
    with performed_by("NaiveJob") as here:
        sent = here.queue.enqueue(shop.parent, meta={"tenant_id": "acme"}, on_success=Callback(shop.on_success))

        assert here.notes(f"{sent.id}:success") == ["-"]
        assert [here.got(child) for child in here.got(sent)] == ["-", "-"]


def test_a_tenant_in_the_meta_is_lost_by_a_job_that_replaces_it(performed_by: Perform) -> None:
    with performed_by("NaiveJob") as here:
        sent = here.queue.enqueue(shop.losing_meta, 2, meta={"tenant_id": "acme"}, retry=Retry(max=1))

        assert here.notes(sent.id, 2) == ["acme", "-"]


def test_a_tenant_that_is_only_ever_set_reaches_the_next_job(performed_by: Perform) -> None:
    with performed_by("LeakingJob") as here:
        here.got(here.queue.enqueue(shop.who, meta={"tenant_id": "acme"}))

        assert here.got(here.queue.enqueue(shop.who)) == "acme"
        assert here.noted("residue") == ["acme", "acme"]
