"""What this process has declared: what a job without a tenant means, and when a job leaves."""

from __future__ import annotations

from tenantjobs import runtime
from tenantjobs.carriage import Tenancy
from tenantjobs.errors import ConfigurationError

_declared: tuple[Tenancy, bool] | None = None


def declare(tenancy: Tenancy, after_commit: bool) -> None:
    """``ConfigurationError`` if something else has been declared."""
    global _declared
    if _declared not in (None, (tenancy, after_commit)):
        raise ConfigurationError(
            f"tenantjobs_rq has been installed with tenancy={_declared[0]!r}, after_commit={_declared[1]!r}, and now "
            f"with tenancy={tenancy!r}, after_commit={after_commit!r}: decide for one"
        )
    _declared = (tenancy, after_commit)


def tenancy() -> Tenancy:
    """What ``install`` was told, in a worker that nobody told what the configuration says."""
    if _declared is not None:
        return _declared[0]
    configured = runtime.settings().tenancy
    return "optional" if configured == "none" else configured


def after_commit() -> bool:
    """Whether enqueues wait for the open transaction."""
    return _declared is not None and _declared[1]
