"""What an app has been installed with."""

from __future__ import annotations

from typing import NamedTuple

from tenantjobs.carriage import Tenancy


class Policy(NamedTuple):
    """What a task without a tenant means, and whether messages wait for the open transaction."""

    tenancy: Tenancy
    after_commit: bool
