"""Traces of OpenTelemetry across the queue: ``tenantjobs_otel.install()`` where a process starts."""

from __future__ import annotations

from tenantjobs_otel.installation import install

__all__ = ["install"]
