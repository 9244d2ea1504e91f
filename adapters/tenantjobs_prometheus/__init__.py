"""Metrics of jobs for Prometheus: ``tenantjobs_prometheus.install()`` where a process starts."""

from __future__ import annotations

from tenantjobs_prometheus.installation import install

__all__ = ["install"]
