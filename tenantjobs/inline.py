"""The adapter without a queue: a job is performed at once, in the process that enqueues it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import LimitReached, PartlyEnqueued
from tenantjobs.execution import execute
from tenantjobs.outcome import Failed, Finished, Quarantined, Retried
from tenantjobs.view import KeptResult

RESULTS = 1000  # of the last jobs that kept one


class InlineAdapter:
    """Performs at the call, or right after the commit, through the same dump and load as every queue.

    A retry follows at once: there is nobody to wait for. What the job raises in the end reaches the caller, or after
    a commit its handle: the data is committed already.
    """

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """The section ``[inline]`` has no settings."""

    # Order and queues are those of the calls, so priorities and names are kept trivially; there is no later.
    capabilities = Capabilities(priority=True, queues=True, bulk=True, transactional=True, results=True)

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()
        self._results: OrderedDict[str, KeptResult] = OrderedDict()

    def enqueue(self, envelope: Envelope) -> None:
        outcome = execute(envelope.encode())
        while isinstance(outcome, Retried):
            if outcome.waits_for is not None:
                raise LimitReached(
                    f"job {envelope.name} id={envelope.id}: as many run as may by the limit {outcome.waits_for}, and "
                    f"without a queue there is nothing to wait in: try again when one has ended"
                )
            outcome = execute(outcome.envelope.encode())
        if isinstance(outcome, Failed | Quarantined):
            if not isinstance(outcome.error, Exception):
                # A job that exits has failed, here as on any queue: who enqueued it goes on.
                raise RuntimeError(f"job {envelope.name} ended by {outcome.error!r}") from outcome.error
            raise outcome.error
        if isinstance(outcome, Finished) and outcome.result is not None:
            self._keep(envelope, outcome.result)

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        """Perform all of them: what one raises keeps no other from its turn."""
        errors: dict[str, Exception] = {}
        for envelope in envelopes:
            try:
                self.enqueue(envelope)
            except Exception as error:
                errors[envelope.id] = error
        if errors:
            raise PartlyEnqueued(errors)

    def result(self, job_id: str) -> KeptResult | None:
        """What one of the last jobs has returned; None for any other."""
        return self._results.get(job_id)

    def drain(self) -> int:
        """Nothing waits here."""
        return 0

    def close(self) -> None:
        pass

    def _keep(self, envelope: Envelope, text: str) -> None:
        self._results[envelope.id] = KeptResult(
            id=envelope.id, name=envelope.name, tenant_id=envelope.tenant_id, state="finished", text=text
        )
        while len(self._results) > RESULTS:
            self._results.popitem(last=False)
