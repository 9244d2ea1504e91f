from __future__ import annotations

from tenantjobs.adapter import WorkOptions
from tenantjobs_db.assignment import name_of
from tenantjobs_db.attendance import Attendance
from tenantjobs_db.database import Database
from tenantjobs_db.lease import Lease
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Reserve
from tenantjobs_db.serving import Serving
from tests.tenantjobs_db.making import Claimer, envelopes, let_expire


def test_each_process_is_there_with_what_it_does_below_its_supervisor(
    queue: Queue, database: Database, living: Processes
) -> None:
    lonely = living.register("worker")
    supervisor = living.register("supervisor")
    other = living.register("supervisor")
    worker = living.register("worker", name_of(supervisor, 1))
    lease = Lease(living, 60.0)
    lease.process = worker
    Serving(database, lease, WorkOptions(threads=5, queues=("critical", "low")), Reserve(5, 0.0)).tell()
    queue.enqueue(envelopes(3))
    claimer = Claimer(database)
    claimer.process = worker
    claimer.claim(2)

    found = {view.id: view for view in Attendance(database, lease=60.0).processes()}

    assert list(found)[:4] == [lonely, supervisor, worker, other]
    assert (found[lonely].supervisor, found[other].supervisor) == (None, None)
    view = found[worker]
    assert (view.kind, view.supervisor, view.threads, view.queues, view.running) == (
        "worker",
        supervisor,
        5,
        ("critical", "low"),
        2,
    )
    assert view.alive
    assert 0 <= view.heartbeat_age < 30


def test_a_process_that_is_silent_for_longer_than_its_lease_is_dead(database: Database, living: Processes) -> None:
    process = living.register("worker")
    let_expire(database, process)

    (view,) = Attendance(database, lease=60.0).processes()

    assert not view.alive
    assert view.heartbeat_age > 1000


def test_who_signs_off_or_is_reaped_leaves_nothing_behind(database: Database, living: Processes) -> None:
    living.leave(living.register("worker"))
    let_expire(database, living.register("worker"))
    living.reap()

    assert Attendance(database, lease=60.0).processes() == []
