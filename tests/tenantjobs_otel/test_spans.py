from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import tenantjobs
import tenantjobs_otel
from tenantjobs import Abort, Current, adapter, before_enqueue, discard_on, job, later, retry_on, testing, transaction
from tenantjobs.carriage import Delivery, write
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnqueueError, Interruption
from tenantjobs.execution import execute
from tests.tenantjobs.enqueued import enqueued

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("tests")

seen: list[object] = []


def refuse() -> None:
    raise Abort("not today")


def look() -> None:
    seen.append(trace.get_current_span().get_span_context().span_id)
    with tracer.start_as_current_span("inside"):
        pass


@job(name="otel.works", queue="mailers")
def works() -> None:
    look()


@job(name="otel.works_async", queue="mailers")
async def works_async() -> None:
    look()


class Works(tenantjobs.Job):
    name = "otel.works_class"
    queue = "mailers"

    def perform(self) -> None:
        look()


class Model:
    @later(queue="mailers")
    @staticmethod
    def work() -> None:
        look()


@job(name="otel.outer", queue="mailers")
def outer() -> None:
    works.perform_later()


@job(name="otel.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
def flaky() -> None:
    raise ConnectionError("down")


@job(name="otel.given_up", policies=[discard_on(KeyError)])
def given_up() -> None:
    raise KeyError("gone")


@job(name="otel.fails")
def fails() -> None:
    raise ConnectionError("down")


@job(name="otel.stopped")
def stopped() -> None:
    raise Interruption("the worker stops")


@job(name="otel.aborted", policies=[before_enqueue(refuse)])
def aborted() -> None: ...


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    exporter.clear()
    seen.clear()
    with testing.override(adapter="test"), Current.set(tenant_id="acme"), tenantjobs_otel.install(provider):
        yield


def spans(kind: SpanKind | None = None) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if kind in (None, span.kind)]


def producer() -> ReadableSpan:
    return spans(SpanKind.PRODUCER)[0]


def consumer() -> ReadableSpan:
    return spans(SpanKind.CONSUMER)[-1]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    "perform_later",
    [works.perform_later, works_async.perform_later, Works.perform_later, Model.work_later],  # type: ignore[attr-defined]
    ids=["function", "async function", "class", "later"],
)
def test_the_consumer_links_to_the_producer_in_a_trace_of_its_own(perform_later: Any) -> None:
    perform_later()
    testing.drain()

    assert (producer().name, consumer().name) == ("enqueue mailers", "process mailers")
    assert [link.context.span_id for link in consumer().links] == [producer().context.span_id]
    assert consumer().context.trace_id != producer().context.trace_id
    assert consumer().parent is None


@pytest.mark.parametrize("target", [works, works_async], ids=["function", "async function"])
def test_what_the_job_does_is_inside_of_its_span(target: Any) -> None:
    target.perform_later()
    testing.drain()

    (inside,) = [span for span in spans() if span.name == "inside"]
    assert seen == [consumer().context.span_id]
    assert inside.parent is not None
    assert inside.parent.span_id == consumer().context.span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_both_spans_have_the_attributes_of_messaging_and_our_own() -> None:
    handle = works.perform_later()
    testing.drain()
    of_both = {
        "messaging.system": "tenantjobs",
        "messaging.destination.name": "mailers",
        "messaging.message.id": handle.job_id,
        "tenantjobs.job.name": "otel.works",
        "tenantjobs.tenant.id": "acme",
    }

    assert attributes(producer()) == of_both | {
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
    }
    consumed = attributes(consumer())
    assert consumed.pop("tenantjobs.queue.wait_ms") >= 0
    assert consumed == of_both | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "tenantjobs.attempt": 1,
        "tenantjobs.outcome": "finished",
    }


def test_a_job_without_a_tenant_says_none() -> None:
    with Current.switch("support", tenant_id="x"), Current.system("nightly"):
        works.perform_later()

    assert "tenantjobs.tenant.id" not in attributes(producer())


def test_with_the_switch_the_consumer_is_a_child_of_the_producer() -> None:
    with tenantjobs_otel.install(provider, parent=True):
        works.perform_later()
        testing.drain()

    assert consumer().parent is not None
    assert consumer().parent.span_id == producer().context.span_id
    assert consumer().context.trace_id == producer().context.trace_id
    assert consumer().links == ()


def test_a_producer_is_a_child_of_what_is_around_the_call() -> None:
    with tracer.start_as_current_span("request") as request:
        works.perform_later()

    assert producer().parent is not None
    assert producer().parent.span_id == request.get_span_context().span_id


def test_each_attempt_links_to_the_one_producer_and_says_what_came_of_it() -> None:
    flaky.perform_later()
    with suppress(ConnectionError):
        testing.drain()

    consumers = spans(SpanKind.CONSUMER)
    assert [attributes(span)["tenantjobs.outcome"] for span in consumers] == ["retried", "retried", "failed"]
    assert [attributes(span)["tenantjobs.attempt"] for span in consumers] == [1, 2, 3]
    assert {link.context.span_id for span in consumers for link in span.links} == {producer().context.span_id}


@pytest.mark.parametrize(
    ("target", "outcome"),
    [(fails, "failed"), (flaky, "retried"), (given_up, "discarded")],
    ids=lambda value: str(value),
)
def test_an_attempt_that_raised_is_no_success_whatever_was_decided(target: Any, outcome: str) -> None:
    execute(enqueued(target.perform_later))

    span = consumer()
    assert (span.status.status_code, attributes(span)["tenantjobs.outcome"]) == (StatusCode.ERROR, outcome)
    assert attributes(span)["error.type"] in ("ConnectionError", "KeyError")
    assert [event.name for event in span.events] == ["exception"]


def test_an_attempt_that_was_interrupted_has_not_failed() -> None:
    with pytest.raises(Interruption):
        execute(enqueued(stopped.perform_later))

    assert (consumer().status.status_code, attributes(consumer())["tenantjobs.outcome"]) == (
        StatusCode.UNSET,
        "interrupted",
    )


def test_a_job_in_a_job_is_one_chain_of_links() -> None:
    outer.perform_later()
    testing.drain()

    first, second = spans(SpanKind.PRODUCER)
    performed, inner = spans(SpanKind.CONSUMER)
    assert second.parent is not None
    assert second.parent.span_id == performed.context.span_id
    assert [link.context.span_id for link in inner.links] == [second.context.span_id]
    assert [link.context.span_id for link in performed.links] == [first.context.span_id]


def test_jobs_in_bulk_have_a_span_each() -> None:
    tenantjobs.perform_all_later([works.call(), works.call()])
    testing.drain()

    linked = [link.context.span_id for span in spans(SpanKind.CONSUMER) for link in span.links]
    assert len(set(linked)) == 2
    assert linked == [span.context.span_id for span in spans(SpanKind.PRODUCER)]


def test_a_job_that_was_refused_or_aborted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise EnqueueError("down")

    aborted.perform_later()
    monkeypatch.setattr(type(adapter.configured()), "enqueue", down)
    with pytest.raises(EnqueueError):
        works.perform_later()

    first, second = spans(SpanKind.PRODUCER)
    assert (attributes(first)["tenantjobs.outcome"], first.status.status_code) == ("aborted", StatusCode.UNSET)
    assert (attributes(second)["tenantjobs.outcome"], second.status.status_code) == ("refused", StatusCode.ERROR)
    assert attributes(second)["error.type"] == "tenantjobs.errors.EnqueueError"


def test_a_job_in_a_transaction_has_its_span_until_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    monkeypatch.setattr(transaction, "hold", lambda jobs, queue: held.extend(jobs) or True)
    for _ in range(3):
        works.perform_later()
    assert spans() == []

    held.pop().sent()
    held.pop().dropped("the transaction was rolled back")
    assert [attributes(span).get("tenantjobs.outcome") for span in spans()] == [None, "dropped"]


def test_a_signed_job_carries_its_trace() -> None:
    with testing.override(signing={"keys": ["2026-11:a new secret, in use"]}):
        works.perform_later()
        testing.drain()

    assert [link.context.span_id for link in consumer().links] == [producer().context.span_id]


def test_a_trace_goes_through_a_queue_that_stores_its_jobs_and_through_retries(tmp_path: Path) -> None:
    with testing.override(adapter="db", db={"url": f"sqlite:///{tmp_path}/jobs.db"}):
        flaky.perform_later()
        testing.drain()

    consumers = spans(SpanKind.CONSUMER)
    assert [attributes(span)["tenantjobs.outcome"] for span in consumers] == ["retried", "retried", "failed"]
    assert {link.context.span_id for span in consumers for link in span.links} == {producer().context.span_id}


def test_the_trace_of_a_span_that_is_not_recorded_does_not_travel() -> None:
    with tenantjobs_otel.install(trace.NoOpTracerProvider()):
        data = enqueued(works.perform_later)

    assert b"headers" not in bytes(Envelope.decode(data).context)


def test_a_worker_that_is_not_traced_hands_the_trace_on() -> None:
    outer.perform_later()
    subscription = tenantjobs_otel.install(provider)
    subscription.unsubscribe()
    (data,) = (envelope for envelope in adapter.configured()._waiting)  # type: ignore[attr-defined]
    adapter.configured()._waiting.clear()  # type: ignore[attr-defined]
    execute(data)
    with tenantjobs_otel.install(provider):
        testing.drain()

    assert [link.context.span_id for link in consumer().links] == [producer().context.span_id]


def test_a_second_installation_takes_the_place_of_the_first() -> None:
    with tenantjobs_otel.install(provider):
        works.perform_later()

    assert len(spans(SpanKind.PRODUCER)) == 1


# Nothing of what others do is hidden.


def test_what_a_worker_has_put_into_the_context_is_there_in_a_job() -> None:
    data = enqueued(works.perform_later)
    exporter.clear()
    with tracer.start_as_current_span("of the broker's own instrumentation") as theirs:
        execute(data)
        assert trace.get_current_span() is theirs

    assert consumer().parent is not None
    assert consumer().parent.span_id == theirs.get_span_context().span_id


def test_a_native_task_under_carriage_sees_the_span_that_it_is_in() -> None:
    header = write(Current.capture())
    token = context.attach(context.set_value("tests.key", "theirs"))
    try:
        with tracer.start_as_current_span("task") as task, Delivery.of(header, lambda: "task 1"):
            assert trace.get_current_span() is task
            assert context.get_value("tests.key") == "theirs"
    finally:
        context.detach(token)


def test_perform_now_is_a_span_like_any_call_inside_of_what_calls_it() -> None:
    with tracer.start_as_current_span("request"):
        works.perform_now()
        after = trace.get_current_span().get_span_context().span_id

    performed, request = (
        next(span for span in spans() if span.name == name) for name in ("perform otel.works", "request")
    )
    assert (performed.kind, performed.parent and performed.parent.span_id) == (
        SpanKind.INTERNAL,
        request.context.span_id,
    )
    assert attributes(performed) == {
        "tenantjobs.job.name": "otel.works",
        "tenantjobs.tenant.id": "acme",
        "tenantjobs.outcome": "finished",
    }
    assert seen == [performed.context.span_id]
    assert after == request.context.span_id
