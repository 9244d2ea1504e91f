"""The spans of jobs: made of their events, with the trace context in the headers that travel with a job."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from weakref import WeakKeyDictionary

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tenantjobs import Abort, JobContext
from tenantjobs.instrumentation import Enqueued, EnqueueDropped, EnqueueRefused, Enqueuing, Event, Performed, Started
from tenantjobs_otel import names
from tenantjobs_otel.errors import type_of

Attributes = dict[str, str | int | float]

# W3C's, whatever the process speaks elsewhere: what travels here is read by nobody but ourselves.
_trace_context = TraceContextTextMapPropagator()


class Spans:
    """A listener that makes spans of events."""

    def __init__(self, tracer: Tracer, *, parent: bool) -> None:
        self._tracer = tracer
        self._parent = parent
        # Weak, because a job that its caller has taken back before the commit is never heard of again.
        self._leaving: WeakKeyDictionary[JobContext, Span] = WeakKeyDictionary()
        # By identity: one message may come twice at a time.
        self._going_on: dict[int, tuple[Span, Token[Context]]] = {}

    def hear(self, event: Event) -> None:
        match event:
            case Enqueuing(job=job, headers=headers):
                self._enqueue(job, headers)
            case Enqueued(job=job):
                self._left(job)
            case EnqueueDropped(job=job, reason=reason):
                self._left(job, {names.OUTCOME: "dropped", names.NOTE: reason})
            case EnqueueRefused(job=job, error=Abort() as abort):
                self._left(job, {names.OUTCOME: "aborted", names.NOTE: str(abort)})
            case EnqueueRefused(job=job, error=error):
                self._left(job, {names.OUTCOME: "refused"}, error)
            case Started(job=job, now=True):
                self._perform(job)
            case Started(job=job, wait=wait, headers=headers):
                self._process(job, wait, headers)
            case Performed():
                self._end(event)

    def _enqueue(self, job: JobContext, headers: dict[str, str]) -> None:
        # It ends when the queue has the job, maybe after a commit, elsewhere: so it is never the current span.
        span = self._tracer.start_span(
            f"enqueue {job.queue}", kind=SpanKind.PRODUCER, attributes=_attributes(job, "enqueue", "send")
        )
        _trace_context.inject(headers, trace.set_span_in_context(span))
        self._leaving[job] = span

    def _left(self, job: JobContext, attributes: Attributes | None = None, error: Exception | None = None) -> None:
        span = self._leaving.pop(job, None)
        if span is not None:
            span.set_attributes(attributes or {})
            _fail(span, error)
            span.end()

    def _process(self, job: JobContext, wait: float, headers: Mapping[str, str]) -> None:
        producer = _trace_context.extract(headers)
        sent_by = trace.get_current_span(producer).get_span_context()
        linked = sent_by.is_valid and not self._parent
        span = self._tracer.start_span(
            f"process {job.queue}",
            context=_trace_context.extract(headers, context.get_current()) if self._parent else None,
            kind=SpanKind.CONSUMER,
            links=[Link(sent_by)] if linked else None,
            attributes={
                **_attributes(job, "process", "process"),
                names.ATTEMPT: job.attempt,
                names.WAIT: round(wait * 1e3, 3),
            },
        )
        self._enter(job, span)

    def _perform(self, job: JobContext) -> None:
        # No message: it is a call like any other, inside of what calls it.
        tenant: Attributes = {} if job.tenant_id is None else {names.TENANT: job.tenant_id}
        self._enter(job, self._tracer.start_span(f"perform {job.name}", attributes={names.JOB: job.name, **tenant}))

    def _enter(self, job: JobContext, span: Span) -> None:
        self._going_on[id(job)] = span, context.attach(trace.set_span_in_context(span))

    def _end(self, event: Performed) -> None:
        going_on = self._going_on.pop(id(event.job), None)
        if going_on is None:  # installed in the middle of it
            return
        span, token = going_on
        span.set_attribute(names.OUTCOME, event.outcome)
        if event.note is not None:
            span.set_attribute(names.NOTE, event.note)
        # A job that is given back, because its worker stops, has not failed.
        _fail(span, None if event.outcome == "interrupted" else event.error)
        span.end()
        context.detach(token)


def _attributes(job: JobContext, operation: str, kind: str) -> Attributes:
    tenant: Attributes = {} if job.tenant_id is None else {names.TENANT: job.tenant_id}
    return {
        names.SYSTEM: "tenantjobs",
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: kind,
        names.DESTINATION: job.queue,
        names.MESSAGE_ID: job.id,
        names.JOB: job.name,
        **tenant,
    }


def _fail(span: Span, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(error)
        span.set_attribute(names.ERROR_TYPE, type_of(error))
        span.set_status(StatusCode.ERROR, str(error))
