"""One attempt on the record: its lines in the log, and the events ``Started`` and ``Performed``."""

from __future__ import annotations

import logging
from datetime import datetime
from time import perf_counter

from tenantjobs import clock, instrumentation, logs
from tenantjobs.envelope import Envelope
from tenantjobs.instrumentation import OutcomeName, Performed, Started
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Quarantined, Retried
from tenantjobs.running import JobContext

logger = logging.getLogger("tenantjobs.execution")


class Recording:
    """What is told of an attempt that begins now."""

    __slots__ = ("_began", "_job", "_now", "_wait")

    def __init__(self, job: JobContext, envelope: Envelope | None) -> None:
        """``envelope`` is None under ``perform_now``."""
        self._job = job
        self._now = envelope is None
        self._wait: float | None = 0.0 if self._now else None
        if instrumentation.listeners:
            self._wait = 0.0 if envelope is None else _waited(job)
            headers = {} if envelope is None else instrumentation.headers_of(envelope.snapshot)
            instrumentation.emit(Started(job=job, wait=self._wait, headers=headers, now=self._now))
        logs.line(logger, logging.DEBUG, "started", job)
        self._began = perf_counter()

    def ended(self, outcome: Outcome) -> None:
        """Tell what came of it."""
        match outcome:
            case Finished(note=note):
                self._end("finished", logging.INFO, note, note=note)
            case Retried(due_at=due_at, error=error, note=note):
                detail = f"at {due_at.isoformat()}: {note or repr(error)}"
                self._end("retried", logging.INFO, detail, error=error, note=note, due_at=due_at)
            case Discarded(reason=reason, error=error):
                self._end("discarded", logging.ERROR, f"{reason} ({error!r})", error=error, note=reason)
            case Failed(error=error) | Quarantined(error=error):
                self._end("failed", logging.ERROR, repr(error), error=error)

    def raised(self, error: BaseException) -> None:
        """Tell that it has failed at the caller of ``perform_now``, who has the error and says whether it is one."""
        self._end("failed", logging.INFO, repr(error), error=error)

    def interrupted(self, error: BaseException) -> None:
        """Tell that nothing came of it: the job is given back, or belongs to another worker by now."""
        self._end("interrupted", logging.INFO, repr(error), error=error)

    def _end(
        self,
        outcome: OutcomeName,
        level: int,
        detail: str | None,
        *,
        error: BaseException | None = None,
        note: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        if not instrumentation.listeners and not logger.isEnabledFor(level):
            return
        job, run = self._job, perf_counter() - self._began
        wait = max(0.0, _waited(job) - run) if self._wait is None else self._wait
        measured = {"wait_ms": round(wait * 1e3, 3), "run_ms": round(run * 1e3, 3)}
        logs.line(logger, level, outcome, job, detail, error=error, **measured)
        if instrumentation.listeners:
            instrumentation.emit(
                Performed(
                    job=job, outcome=outcome, wait=wait, run=run, error=error, note=note, due_at=due_at, now=self._now
                )
            )


def _waited(job: JobContext) -> float:
    """Seconds since the job was due."""
    return max(0.0, (clock.now() - max(job.enqueued_at, job.due_at or job.enqueued_at)).total_seconds())
