"""Spans and metrics from now on."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

import tenantjobs
from tenantjobs.identity import canonical_id
from tenantjobs.instrumentation import Event, Performed, Subscription
from tenantjobs_otel.metrics import Metrics
from tenantjobs_otel.spans import Spans

_installed: Subscription | None = None


def install(
    tracer_provider: TracerProvider | None = None,
    *,
    parent: bool = False,
    meter_provider: MeterProvider | None = None,
    tenants: Iterable[str | int | UUID] = (),
) -> Subscription:
    """A producer span for each job that is enqueued, and a consumer span around each attempt, linked to it; metrics.

    The providers are the global ones unless they are given: without an SDK they do nothing. ``parent=True`` makes the
    consumer span a child of the producer's, in one trace, rather than linking two. ``tenants`` are the ids that metrics
    may show; all others are ``other`` there. A second call takes the place of the first.
    """
    global _installed
    spans = Spans(trace.get_tracer("tenantjobs", tenantjobs.__version__, tracer_provider), parent=parent)
    meter = metrics.get_meter("tenantjobs", tenantjobs.__version__, meter_provider)
    measured = Metrics(meter, frozenset(map(canonical_id, tenants)))

    def hear(event: Event) -> None:
        # An attempt that begins is measured inside of its span, and so is one that ends: what is measured names it.
        if isinstance(event, Performed):
            measured.hear(event)
            spans.hear(event)
        else:
            spans.hear(event)
            measured.hear(event)

    if _installed is not None:
        _installed.unsubscribe()
    _installed = tenantjobs.subscribe(hear)
    return _installed
