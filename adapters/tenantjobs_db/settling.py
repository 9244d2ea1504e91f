"""Settling: what became of claimed jobs is written, unless they are somebody else's by now.

Every statement asks for the job, the process and the fence together, so that a late worker changes nothing. The
state is not asked for: ``claimed_by`` is set while a job is claimed, and only then; and the planner would take the
index of claimed jobs instead of the primary key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    Text,
    Update,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from tenantjobs_db.arrays import Array
from tenantjobs_db.calling import Calling
from tenantjobs_db.dialect import Dialect, seconds
from tenantjobs_db.settlement import Discard, Fail, Finish, GiveBack, Quarantine, Retry, Settled, Settlement
from tenantjobs_db.tables import (
    DISCARDED,
    FAILED,
    FINISHED,
    QUARANTINED,
    READY,
    failures,
    jobs,
    results,
    waiting_state,
)

BY_ID = attrgetter("claim.id")


class Settling:
    """Writes settlements on a connection; its owner commits."""

    def __init__(self, dialect: Dialect, *, keep_finished: bool) -> None:
        self._keep_finished = keep_finished
        self._calling = Calling(dialect)
        self._statements = _statements(dialect, keep_finished)
        self._finish_all = _finish_all(dialect, keep_finished) if dialect.set_based else None
        self._finish_counted = _finish_counted(dialect, keep_finished) if dialect.json_rows else None
        self._record = insert(failures).values(failed_at=dialect.now())
        self._keep_result = insert(results)
        self._forget = delete(failures).where(failures.c.job_id == bindparam("settled_id"))

    def finishes(self, settlements: Sequence[Settlement], process: str) -> list[Finish] | None:
        """The same in their order, if they are all of one kind: jobs of ``process`` that have finished, with no more to
        be said of them.
        """
        found: list[Finish] = []
        for settlement in settlements:
            claim = settlement.claim
            if type(settlement) is Finish and claim.process == process and claim.grant is None:
                if (
                    settlement.note is not None
                    or settlement.result is not None
                    or (claim.attempt and not self._keep_finished)
                ):
                    return None
                found.append(settlement)
            elif type(settlement) is not Settled:
                return None
        return sorted(found, key=BY_ID)

    def settle(self, connection: Connection, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Write them all; those that are refused, because the job is not ours any more, are returned."""
        # In one order everywhere, so that two processes never wait for each other's rows.
        settlements = sorted((one for one in settlements if not isinstance(one, Settled)), key=BY_ID)
        finishes = [settlement for settlement in settlements if isinstance(settlement, Finish)]
        others = [settlement for settlement in settlements if not isinstance(settlement, Finish)]
        refused = self._settle_finished(connection, finishes) if finishes else []
        for settlement in others:
            if self._written(connection, settlement):
                self._record_failure(connection, settlement)
            else:
                refused.append(settlement)
        self._calling.call(connection, (one.claim.id for one in others if isinstance(one, Retry | GiveBack)))
        return refused

    def finish_within(self, connection: Connection, finish: Finish) -> bool:
        """Finish one job in a transaction that is not ours; False if the job is not."""
        if not self._written(connection, finish):
            return False
        if self._keep_finished:
            self._keep_results(connection, [finish])
        elif finish.claim.attempt:
            connection.execute(self._forget, {"settled_id": finish.claim.id})
        return True

    def _settle_finished(self, connection: Connection, finishes: Sequence[Finish]) -> list[Settlement]:
        refused = self._finish(connection, finishes)
        if self._keep_finished:
            self._keep_results(connection, [finish for finish in finishes if finish not in refused])
        else:
            # The row of the job is gone, and with it whoever would prune what earlier attempts have left.
            theirs = {settlement.claim.id for settlement in refused}
            tried_before = [
                {"settled_id": finish.claim.id}
                for finish in finishes
                if finish.claim.attempt and finish.claim.id not in theirs
            ]
            if tried_before:
                connection.execute(self._forget, tried_before)
        return refused

    def _keep_results(self, connection: Connection, finishes: Iterable[Finish]) -> None:
        rows = [
            {
                "job_id": finish.claim.id,
                "tenant": finish.claim.tenant,
                "name": finish.claim.name,
                "result": finish.result,
            }
            for finish in finishes
            if finish.result is not None
        ]
        if rows:
            connection.execute(self._keep_result, rows)

    def _finish(self, connection: Connection, finishes: Sequence[Finish]) -> list[Settlement]:
        if self._finish_all is None:
            return self._finish_many(connection, finishes)
        finished = set(connection.execute(self._finish_all, _arrays(finishes)).scalars().all())
        return [finish for finish in finishes if finish.claim.id not in finished]

    def _finish_many(self, connection: Connection, finishes: Sequence[Finish]) -> list[Settlement]:
        """All of them are ours, as a rule. If the count says otherwise, it is undone and each is asked for."""
        with connection.begin_nested() as savepoint:
            if self._count_finished(connection, finishes) == len(finishes):
                return []
            savepoint.rollback()
        return [finish for finish in finishes if not self._written(connection, finish)]

    def _count_finished(self, connection: Connection, finishes: Sequence[Finish]) -> int:
        if self._finish_counted is None:
            return connection.execute(self._statements[Finish], [_values(finish) for finish in finishes]).rowcount
        ended = [(each.claim.id, each.claim.fence, each.claim.process, each.note) for each in finishes]
        return connection.execute(self._finish_counted, {"ended": msgspec.json.encode(ended).decode()}).rowcount

    def _written(self, connection: Connection, settlement: Settlement) -> bool:
        return connection.execute(self._statements[type(settlement)], _values(settlement)).rowcount == 1

    def _record_failure(self, connection: Connection, settlement: Settlement) -> None:
        failure = getattr(settlement, "failure", None)
        if failure is not None:
            connection.execute(
                self._record,
                {
                    "job_id": settlement.claim.id,
                    "tenant": settlement.claim.tenant,
                    "attempt": settlement.attempt,
                    "error_class": failure.error_class,
                    "message": failure.message,
                    "traceback": failure.traceback,
                    "retried": settlement.retried,
                },
            )


def _statements(dialect: Dialect, keep_finished: bool) -> Mapping[type[Settlement], Update | Delete]:
    """One statement for each verdict. What ``Settlement.values`` names after a column is set as well."""
    now = dialect.now()
    ours = (
        jobs.c.id == bindparam("settled_id"),
        jobs.c.fence == bindparam("settled_fence"),
        jobs.c.claimed_by == bindparam("settled_by"),
    )
    wait = seconds("wait")
    write = update(jobs).where(*ours).values(claimed_by=None)
    return {
        Finish: write.values(state=FINISHED, finished_at=now) if keep_finished else delete(jobs).where(*ours),
        Retry: write.values(state=waiting_state(wait), due_at=dialect.after(wait)),
        Fail: write.values(state=FAILED, finished_at=now),
        Discard: write.values(state=DISCARDED, finished_at=now),
        Quarantine: write.values(state=QUARANTINED, finished_at=now),
        GiveBack: write.values(state=READY),
    }


def _values(settlement: Settlement) -> dict[str, Any]:
    claim = settlement.claim
    return {
        "settled_id": claim.id,
        "settled_fence": claim.fence,
        "settled_by": claim.process,
        **settlement.values(),
    }


def _finish_all(dialect: Dialect, keep_finished: bool) -> Update | Delete:
    """Any number of finished jobs as one statement, which says whom it found."""
    done = (
        func.unnest(
            bindparam("ids", type_=Array(Text())),
            bindparam("fences", type_=Array(BigInteger())),
            bindparam("processes", type_=Array(Text())),
            bindparam("reasons", type_=Array(Text())),
        )
        .table_valued(column("id", Text), column("fence", BigInteger), column("process", Text), column("reason", Text))
        .render_derived("done")
    )
    ours = (
        jobs.c.id == done.c.id,
        jobs.c.fence == done.c.fence,
        jobs.c.claimed_by == done.c.process,
    )
    if not keep_finished:
        return delete(jobs).where(*ours).returning(jobs.c.id)
    return (
        update(jobs)
        .where(*ours)
        .values(
            state=FINISHED,
            claimed_by=None,
            attempt=jobs.c.attempt + 1,
            reason=done.c.reason,
            finished_at=dialect.now(),
        )
        .returning(jobs.c.id)
    )


def _finish_counted(dialect: Dialect, keep_finished: bool) -> Update | Delete:
    """The same where rows of JSON are a table; how many it has found is all that it says."""
    row = func.json_each(bindparam("ended", type_=Text())).table_valued(column("value", Text))
    of_row = [func.json_extract(row.c.value, literal_column(f"'$[{number}]'")) for number in range(4)]
    ours = (jobs.c.id, jobs.c.fence, jobs.c.claimed_by)
    if not keep_finished:
        return delete(jobs).where(tuple_(*ours).in_(select(*of_row[:3])))
    return (
        update(jobs)
        .where(*(ours_ == theirs for ours_, theirs in zip(ours, of_row, strict=False)))
        .values(
            state=FINISHED,
            claimed_by=None,
            attempt=jobs.c.attempt + 1,
            reason=of_row[3],
            finished_at=dialect.now(),
        )
    )


def _arrays(finishes: Sequence[Finish]) -> dict[str, list[object]]:
    claims = [finish.claim for finish in finishes]
    return {
        "ids": [claim.id for claim in claims],
        "fences": [claim.fence for claim in claims],
        "processes": [claim.process for claim in claims],
        "reasons": [finish.note for finish in finishes],
    }
