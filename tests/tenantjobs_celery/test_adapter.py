"""What the adapter does beyond the kit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from tenantjobs import Current, PartlyEnqueued, adapter, definition, job, perform_all_later, testing
from tenantjobs_celery import CeleryAdapter
from tenantjobs_celery.performing import wrapper

app = Celery("adapter", broker="memory://", set_as_current=False)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = dict(definition.registry)
    with testing.override(adapter="celery", celery={"app": f"{__name__}:app"}), Current.set(tenant_id="acme"):
        configured = adapter.configured()
        assert isinstance(configured, CeleryAdapter)
        yield wrapper(configured.app)
    definition.registry.clear()
    definition.registry.update(before)


@pytest.mark.parametrize("sent", [0, 2])
def test_a_broker_that_goes_away_has_the_jobs_that_were_sent_before(
    task: Any, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[object] = []

    def send(*args: Any, **options: Any) -> None:
        if len(messages) == sent:
            raise ConnectionError("down")
        messages.append(args)

    @job
    def note(number: int) -> None: ...

    monkeypatch.setattr(task, "apply_async", send)
    with pytest.raises(PartlyEnqueued if sent else ConnectionError) as raised:
        perform_all_later([note.call(number) for number in range(4)])

    if sent:
        assert [handle.enqueued for handle in raised.value.handles] == [True, True, False, False]
