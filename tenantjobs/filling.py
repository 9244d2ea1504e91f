"""The end of a block that has filled a batch: its jobs leave, or are dropped, and the batch is closed."""

from __future__ import annotations

from tenantjobs import concluding
from tenantjobs.gathering import Callback, Gathering, Gathers
from tenantjobs.membership import batches_for

EMPTY = ("on_success", "on_finish")  # what a batch calls back in which there was nothing to do


def filled(gathering: Gathering) -> list[Gathers | Callback]:
    """End the block well: what is to leave now. Of an empty batch it is its callbacks."""
    gathering.over = True
    leaving = _taken(gathering)
    if not leaving and all(job.refused_or_dropped for job in gathering.noted):
        return [gathering.callbacks[name] for name in EMPTY if name in gathering.callbacks]
    outer = gathering.parent
    if outer is None or outer.over:
        return list(leaving)
    outer.noted += gathering.noted
    outer.kept += leaving
    return []


def given_up(gathering: Gathering) -> list[Gathers | Callback]:
    """End it with an error: nothing leaves. What has left already, with a transaction inside the block, fails."""
    gathering.over = True
    gathering.gave_up = True
    for job in gathering.noted:
        if job.pending:
            job.give_up("the block of its batch was left by an error")
    gathering.kept.clear()
    return []


def close(gathering: Gathering) -> None:
    """Let a batch that was written while it was filled end with its jobs."""
    if not gathering.is_open_elsewhere:
        return
    gathering.is_open_elsewhere, gathering.stored = False, True
    store = batches_for("a batch")
    with store.transaction() as on:
        store.close(on, gathering.id)
    concluding.conclude(gathering.id, failing=gathering.gave_up)


def _taken(gathering: Gathering) -> list[Gathers]:
    leaving = [job for job in gathering.kept if job.pending]
    gathering.kept.clear()
    return leaving
