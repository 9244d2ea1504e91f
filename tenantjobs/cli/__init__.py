"""The command line: ``tenantjobs``, or ``python -m tenantjobs.cli``."""

from __future__ import annotations

from tenantjobs.cli.root import main

__all__ = ["main"]
