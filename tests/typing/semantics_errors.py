"""Mistakes that both checkers must catch, on exactly the marked lines. Checked, never run."""

from __future__ import annotations

from tenantjobs import (
    JobContext,
    before_enqueue,
    discard_on,
    job,
    limits_concurrency,
    report,
    rescue_from,
    retry_on,
    unique,
)

retry_on(ConnectionError, atempts=3)  # error
retry_on("ConnectionError")  # error
retry_on(ConnectionError, wait="linearly")  # error
discard_on(KeyError, raport=True)  # error
rescue_from(KeyError, report=True)  # error
before_enqueue(print, iff=bool)  # error
job(timeout="60")  # error
job(choose_priority=lambda: "high")  # error
report("an error")  # error
unique("until_expired")  # error
unique("until_executed", on_conflict="reschedule")  # error
unique()  # error
limits_concurrency(on_conflict="raise")  # error
limits_concurrency(to="3")  # error


def again(running: JobContext) -> None:
    running.retry(wait="soon")  # error
