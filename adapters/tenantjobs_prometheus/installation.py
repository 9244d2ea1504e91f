"""Metrics from now on."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from prometheus_client import REGISTRY, CollectorRegistry

import tenantjobs
from tenantjobs.identity import canonical_id
from tenantjobs.instrumentation import Subscription
from tenantjobs_prometheus.metrics import Metrics


def install(registry: CollectorRegistry | None = None, tenants: Iterable[str | int | UUID] = ()) -> Subscription:
    """Count and measure jobs in ``registry``, the library's own unless it is given.

    ``tenants`` are the ids that may be seen in the label ``tenant``: all others are ``other`` there, so that the number
    of series does not grow with that of tenants. A second call for one registry is a ``ValueError`` of the library.
    """
    metrics = Metrics(REGISTRY if registry is None else registry, frozenset(map(canonical_id, tenants)))
    return tenantjobs.subscribe(metrics.hear)
