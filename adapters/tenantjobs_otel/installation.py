"""Spans from now on."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import TracerProvider

import tenantjobs
from tenantjobs.instrumentation import Subscription
from tenantjobs_otel.spans import Spans

_installed: Subscription | None = None


def install(tracer_provider: TracerProvider | None = None, *, parent: bool = False) -> Subscription:
    """A producer span for each job that is enqueued, and a consumer span around each attempt, linked to it.

    ``tracer_provider`` is the global one unless it is given. ``parent=True`` makes the consumer span a child of the
    producer's, in one trace, rather than linking two. A second call takes the place of the first.
    """
    global _installed
    spans = Spans(trace.get_tracer("tenantjobs", tenantjobs.__version__, tracer_provider), parent=parent)
    if _installed is not None:
        _installed.unsubscribe()
    _installed = tenantjobs.subscribe(spans.hear)
    return _installed
