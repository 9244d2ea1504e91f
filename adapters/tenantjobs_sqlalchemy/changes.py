"""What a transaction has done to one record: created, updated, destroyed; and what is run for it after the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from sqlalchemy.orm import InstanceState, LoaderCallableStatus
from sqlalchemy.orm.attributes import set_committed_value

from tenantjobs.current import Current, Snapshot

Kind = Literal["create", "update", "destroy"]
Changes = Mapping[str, tuple[Any, Any]]
Callback = Callable[[], object]

NO_VALUE = LoaderCallableStatus.NO_VALUE


class Change:
    """One flush of one record. It waits for the commit like any callback; a rolled-back savepoint drops it."""

    def __init__(
        self, kind: Kind, state: InstanceState[Any], record: object, snapshot: Snapshot, before: Mapping[str, Any]
    ) -> None:
        self.kind: Kind = kind
        self.state = state
        self.record = record  # held, since the session holds it weakly once it is flushed
        self.snapshot = snapshot
        self.changes = {name: (old, state.dict.get(name, NO_VALUE)) for name, old in before.items()}
        self.values = {name: state.dict[name] for name in _columns(state) if name in state.dict}

    def __call__(self) -> None:
        """Alone it is what ``settled`` makes of it."""
        for callback in settled([self]):
            callback()

    def __repr__(self) -> str:
        return f"<{self.kind} of a {type(self.record).__name__}>"


class Run:
    """One method of one record, run once after the commit, in the scope of the change."""

    def __init__(self, name: str, change: Change, changes: Changes, takes_changes: bool) -> None:
        self._name = name
        self._change = change
        self._changes = changes
        self._takes_changes = takes_changes

    def __call__(self) -> None:
        change = self._change
        given = (dict(self._changes),) if self._takes_changes else ()
        with Current.restored(change.snapshot), Readable(change):
            getattr(change.record, self._name)(*given)

    def __repr__(self) -> str:
        return f"<{self._name} after the {self._change.kind} of a {type(self._change.record).__name__}>"


class Readable:
    """The record with the values that were committed, for as long as a callback runs.

    A commit expires them, and the session may be unable to load them again: its ``with`` block is being left.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._filled: list[str] = []
        self._was_expired = False

    def __enter__(self) -> None:
        state = self._change.state
        self._was_expired = state.expired
        for name, value in self._change.values.items():
            if name not in state.dict:
                set_committed_value(self._change.record, name, value)
                self._filled.append(name)

    def __exit__(self, *_exit: object) -> None:
        state = self._change.state
        unchanged = [name for name in self._filled if name not in state.committed_state]
        session = state.session
        if unchanged and session is not None and state.persistent:
            # All of it if it was: session.get() loads a record anew that is expired as a whole.
            session.expire(self._change.record, None if self._was_expired and not state.modified else unchanged)


Methods = Callable[[type, Kind], Iterable[tuple[str, bool]]]


def settled(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks of a commit, with all changes of one record as one, in the place of its first."""
    found: list[Callback | list[Change]] = []
    by_state: dict[InstanceState[Any], list[Change]] = {}
    for callback in callbacks:
        if not isinstance(callback, Change):
            found.append(callback)
        elif callback.state in by_state:
            by_state[callback.state].append(callback)
        else:
            found.append(by_state.setdefault(callback.state, [callback]))
    return [run for each in found for run in (_runs(each) if isinstance(each, list) else [each])]


def find_methods_by(methods: Methods) -> None:
    """Ask ``methods`` which methods of a class run after a change."""
    global _methods
    _methods = methods


def _runs(history: list[Change]) -> list[Callback]:
    first, last = history[0], history[-1]
    kind: Kind
    changes: dict[str, tuple[Any, Any]] = {}
    if first.kind == "create" and last.kind == "destroy":
        return []
    elif "destroy" in (first.kind, last.kind):
        kind = "destroy"
    else:
        kind = first.kind
        for change in history:
            for name, (old, new) in change.changes.items():
                changes[name] = (changes[name][0] if name in changes else old, new)
        if kind == "update":
            changes = {name: (old, new) for name, (old, new) in changes.items() if old is NO_VALUE or old != new}
            if not changes:
                return []
    last.kind, last.snapshot = kind, first.snapshot
    return [Run(name, last, changes, takes) for name, takes in _methods(type(last.record), kind)]


def created(state: InstanceState[Any]) -> dict[str, Any]:
    """What the columns of a record held before it was: nothing."""
    return {name: None for name in _columns(state) if name in state.dict}


def unsaved(state: InstanceState[Any]) -> dict[str, Any]:
    """What the columns held that a flush is about to change."""
    return {name: state.committed_state[name] for name in _columns(state) if name in state.committed_state}


def _columns(state: InstanceState[Any]) -> Iterable[str]:
    return (attribute.key for attribute in state.mapper.column_attrs)


def _no_methods(_cls: type, _kind: Kind) -> Iterable[tuple[str, bool]]:
    return ()


_methods: Methods = _no_methods
