"""Applications that show tenantjobs at work; each of them runs in the test run."""

from __future__ import annotations
