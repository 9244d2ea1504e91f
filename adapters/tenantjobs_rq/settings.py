"""The section ``[rq]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec


class RqSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where jobs wait, and how long RQ keeps what became of them; times are seconds.

    ``prefix`` begins the names of our queues in Redis, so that they never meet those of native jobs, which are pickled.
    """

    url: str
    prefix: Annotated[str, msgspec.Meta(min_length=1)] = "tenantjobs."
    timeout: Annotated[int, msgspec.Meta(gt=0)] | None = None  # of one attempt, by RQ's own alarm
    max_deaths: Annotated[int, msgspec.Meta(ge=0)] = 3  # processes that may die with a job before it counts as failed
    result_ttl: Annotated[int, msgspec.Meta(ge=0)] = 500  # finished jobs
    failure_ttl: Annotated[int, msgspec.Meta(gt=0)] = 31_536_000  # failed jobs
