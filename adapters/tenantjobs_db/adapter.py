"""The adapter ``db``: a durable queue in the application's database, or in one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import msgspec
from sqlalchemy import Connection

from tenantjobs import gate, view
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.progress import Progress
from tenantjobs.view import Explanation, JobView, KeptResult
from tenantjobs_db import schema
from tenantjobs_db.alarms import unheard
from tenantjobs_db.attendance import Attendance
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.gate import DatabaseGate
from tenantjobs_db.kept import kept
from tenantjobs_db.opening import answering
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.stored import DatabaseJobs
from tenantjobs_db.stores import Stores
from tenantjobs_db.workplace import Workplace

CAPABILITIES = Capabilities(delay=True, priority=True, queues=True, bulk=True, cancel=True, results=True)


class DatabaseAdapter(Stores):
    """Jobs as rows: in the application's transactions where it is given the engine, durable on return elsewhere."""

    Settings = DatabaseSettings

    def __init__(self, settings: DatabaseSettings) -> None:
        super().__init__(settings)
        self.workplace = Workplace(self)
        self._gate: DatabaseGate | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Transactional only in the application's database; elsewhere there is the inbox.

        Results are kept with finished jobs, and with them only.
        """
        in_application = self.settings.engine is not None and not self.is_apart
        return _capabilities(in_application, self.settings.keeps_finished)

    def enqueue(self, envelope: Envelope) -> None:
        self.queue.enqueue([envelope])
        self.workplace.wake()

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.queue.enqueue(envelopes)
        self.workplace.wake()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of our own, for jobs and their locks; durable at its end."""
        with saying_what_is_missing(), saying_who_is_in_the_way(), self.database.begin() as connection:
            yield connection
        self.workplace.wake()

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        self.queue.enqueue_within(connection, envelopes)

    def cancel(self, job_id: str) -> bool:
        cancelled = self.queue.cancel(job_id)
        if cancelled:
            self.locks.forsake([job_id])
            self.permits.forsake([job_id])
        return cancelled

    def cancel_within(self, connection: object, job_id: str) -> bool:
        """The same by a transaction that is open; False if that is not in the database of the queue."""
        return (
            isinstance(connection, Connection)
            and (self.database.began(connection) or self.joins(connection))
            and self.queue.cancel_within(connection, job_id)
        )

    def progress(self, job_id: str) -> Progress | None:
        """How far the job has come, a second ago or less."""
        return self.telling.read(job_id)

    @kept
    def stored(self) -> DatabaseJobs:
        """The jobs of all tenants, to be listed, counted and changed by hand."""
        return DatabaseJobs(self.database, self.settings, has_batches=not self.is_apart, wake=self.workplace.wake)

    def show(self, job_id: str) -> JobView | None:
        """The job as people look at it; None if there is none of this id, or none any more."""
        return self.stored.find(job_id)

    def result(self, job_id: str) -> KeptResult | None:
        """What the job has returned, as it is kept; None if there is none of this id, or none any more."""
        return self.stored.result(job_id)

    def explain(self, job_id: str) -> Explanation | None:
        """Why the job waits; None if there is none of this id, or none any more."""
        with answering(self.database, self.settings):
            return Explaining(self.database).explain(job_id)

    @property
    def gate(self) -> DatabaseGate:
        """Jobs that a broker's workers perform; ConfigurationError if there is no gate for any."""
        found = gate.settings()
        if found is None:
            raise ConfigurationError('there is no [gate] in the configuration: write adapter = "celery" into it, say')
        with self._opening:
            if self._gate is None or self._gate.settings != found:
                self._gate = DatabaseGate(self.database, self.settings, found, self.completing())
            return self._gate

    def drain(self) -> int:
        """Perform everything that is due in this process; the number of attempts."""
        return self.workplace.drain()

    def work(self, options: WorkOptions) -> int:
        """Run a worker until it is stopped or drained; the exit code of the process."""
        return self.workplace.work(options)

    @property
    def plan(self) -> str | None:
        """The file that says which processes there are."""
        return self.workplace.plan

    def supervise(self, options: WorkOptions, processes: int | None, command: Sequence[str]) -> int:
        """Run several processes under a supervisor, until stopped; the exit code."""
        return self.workplace.supervise(options, processes, command)

    def serve(self, assignment: str) -> int:
        """Be one of the processes of a supervisor; the exit code."""
        return self.workplace.serve(assignment)

    def check(self) -> list[str]:
        """What is wrong with the configuration and the schema, each with what to do about it."""
        try:
            self.workplace.check()
            return self.problems()
        except ConfigurationError as error:
            return [str(error)]

    def notes(self) -> list[str]:
        """What works, and not as one might think."""
        why = unheard(self.database)
        return [] if why is None else [f"no worker is woken by NOTIFY, so that idle ones poll: {why}"]

    def processes(self) -> list[view.ProcessView]:
        """All processes that have not signed off, supervisors before theirs."""
        with answering(self.database, self.settings):
            schema.require(self.database)
            return Attendance(self.database, lease=self.settings.lease).processes()


@cache
def _capabilities(in_application: bool, keeps_finished: bool) -> Capabilities:  # asked for at each call
    return msgspec.structs.replace(CAPABILITIES, transactional=in_application, results=keeps_finished)
