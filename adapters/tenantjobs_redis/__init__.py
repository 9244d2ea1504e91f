"""Redis beside a queue: the section ``[redis]``, for idempotency keys and the locks of unique jobs."""

from __future__ import annotations

from tenantjobs_redis.adapter import RedisKeeper

__all__ = ["RedisKeeper"]
