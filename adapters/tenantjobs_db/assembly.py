"""Puts the processes of the queue together: workers, dispatchers and their supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tenantjobs import gate
from tenantjobs.adapter import WorkOptions
from tenantjobs.config.settings import GateSettings
from tenantjobs_db.admitting import BROKER_LEASE, Admitting
from tenantjobs_db.alarm import Alarm
from tenantjobs_db.alarms import alarm_of, keeping_watch
from tenantjobs_db.assignment import Assignment
from tenantjobs_db.attendance import Attendance
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.chores import chores, promotion
from tenantjobs_db.completing import Completing
from tenantjobs_db.database import Database
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.line import Line
from tenantjobs_db.plan import DispatcherPlan, GatePlan, Plan, SchedulerPlan, WorkerPlan
from tenantjobs_db.processes import Processes
from tenantjobs_db.publishing import Publishing
from tenantjobs_db.recycling import Recycling
from tenantjobs_db.relaying import Relay
from tenantjobs_db.routine import Routine
from tenantjobs_db.selection import Selection
from tenantjobs_db.service import Service
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.supervisor import Supervisor
from tenantjobs_db.title import entitle
from tenantjobs_db.undertaker import Undertaker
from tenantjobs_db.worker import Worker


class Assembly:
    """Knows what each of them is made of. ``relay``: that of the outbox, if there is one."""

    def __init__(
        self,
        database: Database,
        settings: DatabaseSettings,
        *,
        completing: Completing | None,
        inbox: DatabaseInbox | None,
        batches: DatabaseBatches,
        relay: Relay | None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._completing = completing
        self._inbox = inbox
        self._batches = batches
        self._relay = relay
        self._processes = Processes(database, lease=settings.lease, max_deaths=settings.max_deaths)

    def worker(self, options: WorkOptions, **more: Any) -> Worker:
        """A worker that is alone, unless ``more`` says otherwise."""
        return Worker(
            self._database,
            self._settings,
            options,
            completing=self._completing,
            inbox=self._inbox,
            batches=self._batches,
            **more,
        )

    def process(self, options: WorkOptions) -> Worker:
        """The worker of a process that does nothing else, and is called after it."""
        entitle("worker", ",".join(options.queues))
        return self.worker(options, own_process=True)

    def gate(self, options: WorkOptions, settings: GateSettings) -> Service:
        """What lets jobs through, and looks after the queue as well."""
        entitle("gate", settings.adapter)
        lease = self._lease("gate")
        keeping = self._keeping(lease)
        publishing, alarm = self._publishing(settings, options.queues, options.polling_interval)
        routines = [
            *publishing,
            promotion(keeping, interval=options.polling_interval),
            *chores(keeping, lease=self._settings.lease),
        ]
        return Service("gate", lease, routines, beat=self._beat, beside=keeping_watch(alarm))

    def supervisor(self, plan: Plan, command: Sequence[str], options: WorkOptions) -> Supervisor:
        """The supervisor of the processes of ``plan``, each of which is started by ``command``."""
        entitle("supervisor")
        lease = self._lease("supervisor")
        keeping = self._keeping(lease)
        return Supervisor(
            plan,
            command,
            lease,
            keeping,
            Undertaker(self._database, self._processes, keeping),
            Attendance(self._database, lease=self._settings.lease),
            beat=self._beat,
            shutdown_timeout=options.shutdown_timeout,
            address=options.health,
        )

    def assigned(self, told: Assignment) -> Worker | Service:
        """The process that a supervisor has asked for: it stops when its lease is lost, or its supervisor is gone."""
        entitle(*told.words)
        lease = self._lease(told.post.kind, told.process)
        line = Line(told.line)
        process: Worker | Service
        if isinstance(told.post, WorkerPlan):
            process = self._assigned_worker(told.post, told.shutdown_timeout, lease, line)
        elif isinstance(told.post, DispatcherPlan):
            process = self._dispatcher(told.post, lease)
        elif isinstance(told.post, GatePlan):
            process = self._gate(told.post, lease)
        else:
            process = self._scheduler(told.post, lease)
        lease.on_lost = process.stop
        line.watch(process.stop)
        return process

    def _assigned_worker(self, post: WorkerPlan, shutdown_timeout: float, lease: Lease, line: Line) -> Worker:
        options = WorkOptions(
            queues=post.names,
            weights=post.weights,
            threads=post.threads,
            shutdown_timeout=shutdown_timeout,
            polling_interval=post.polling_interval,
        )
        recycling = None if post.limits is None else Recycling(post.limits)
        return self.worker(options, lease=lease, alone=False, own_process=True, recycling=recycling, retire=line.retire)

    def _dispatcher(self, post: DispatcherPlan, lease: Lease) -> Service:
        keeping = self._keeping(lease)
        routines = [
            promotion(keeping, interval=post.polling_interval, batch=post.batch_size),
            *chores(keeping, lease=self._settings.lease),
        ]
        if self._relay is not None:
            routines.append(self._relay.routine())
        return Service(post.kind, lease, routines, beat=self._beat)

    def _gate(self, post: GatePlan, lease: Lease) -> Service:
        found = gate.settings()
        assert found is not None, "a plan has gates only where there is one"
        publishing, alarm = self._publishing(found, ("*",), post.polling_interval)
        return Service(post.kind, lease, publishing, beat=self._beat, beside=keeping_watch(alarm))

    def _publishing(
        self, settings: GateSettings, queues: Sequence[str], interval: float
    ) -> tuple[list[Routine], Alarm]:
        gate.workers()  # a mistake is told before anything is let through
        admitting = Admitting(
            self._database,
            Selection(queues),
            settings,
            keep_finished=self._settings.keeps_finished,
            reserve=self._settings.reserve,
        )
        admitting.beat()
        publishing = Publishing(admitting)
        letting_through = Routine("publishing", interval, publishing.work)
        publishing.alarm = alarm_of(self._database, queues, letting_through.wake)
        routines = [
            letting_through,
            Routine("taking back", settings.lease / 4, publishing.take_back),
            Routine("the broker's heartbeat", BROKER_LEASE / 60, admitting.beat),
        ]
        return routines, publishing.alarm

    def _scheduler(self, post: SchedulerPlan, lease: Lease) -> Service:
        # It brings YAML and cron along, which no other process pays for.
        scheduler = import_module("tenantjobs.recurring").Scheduler()
        return Service(post.kind, lease, beat=self._beat, beside=scheduler.running())

    def _lease(self, kind: str, chosen: str | None = None) -> Lease:
        return Lease(self._processes, self._settings.lease, kind, chosen=chosen)

    def _keeping(self, lease: Lease) -> Keeping:
        return Keeping(self._database, self._processes, lease, self._settings, self._inbox, self._batches)

    @property
    def _beat(self) -> float:
        return self._settings.lease / 3
