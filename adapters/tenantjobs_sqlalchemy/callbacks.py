"""Methods of models that are run after the commit, and jobs of new records that are enqueued with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy import inspect as state_of
from sqlalchemy.orm import InstanceState, Session

from tenantjobs import identity, methods, transaction
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import ConfigurationError
from tenantjobs.handle import Handle
from tenantjobs.parameters import positionals, required_positionals
from tenantjobs_sqlalchemy import changes, levels, tracking
from tenantjobs_sqlalchemy.changes import Change, Kind
from tenantjobs_sqlalchemy.levels import Root

F = TypeVar("F", bound=Callable[..., Any])


def after_create_commit(method: F) -> F:
    """Run the method once for each new record, after the commit of its transaction.

    In the scope of the change, with the values that were committed. It may take ``changes``, a mapping of the changed
    columns to ``(old, new)``. What it raises is logged, stops no other and reaches nobody. Statements that insert,
    update or delete past the session (``session.execute(update(...))``) are not seen.
    """
    declared: F = _declared(method, "create")
    return declared


def after_update_commit(method: F) -> F:
    """The same for each record that was updated and not created in the transaction, if anything differs at its end.

    A value that is not known is ``sqlalchemy.orm.LoaderCallableStatus.NO_VALUE``: an old one that had not been loaded,
    a new one that the database computed.
    """
    declared: F = _declared(method, "update")
    return declared


def after_destroy_commit(method: F) -> F:
    """The same for each record that was deleted and not created in the transaction; ``changes`` is empty."""
    declared: F = _declared(method, "destroy")
    return declared


class _Callback:
    """Stands in a class body for the method that it leaves there."""

    def __init__(self, function: Any) -> None:
        if not inspect.isfunction(function):
            raise ConfigurationError(
                f"after_..._commit decorates plain methods, not {function!r:.120}; a job of each new record is "
                f"@later(after_create=True)"
            )
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"after_..._commit on the async method {function.__qualname__}: nobody awaits anything after a commit. "
                f"Make it a plain method that enqueues a job, or a job of each new record: @later(after_create=True)"
            )
        if positionals(function) < 1 or required_positionals(function) > 2:
            raise ConfigurationError(
                f"after_..._commit on {function.__qualname__}: it is called with the record, and with its changes if "
                f"it takes them"
            )
        self.function = function
        self.kinds: list[Kind] = []

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.function)
        declared = _declarations.setdefault(owner, {})
        for kind in self.kinds:
            declared.setdefault(kind, []).append(name)
        _listen(owner)


def _declared(method: Any, kind: Kind) -> Any:
    found = method if isinstance(method, _Callback) else _Callback(method)
    found.kinds.append(kind)
    return found


def _methods(cls: type, kind: Kind) -> list[tuple[str, bool]]:
    """The methods of the class by name, those of its bases first, and whether they take the changes."""
    names = [name for base in reversed(cls.__mro__) for name in _declarations.get(base, {}).get(kind, ())]
    return [(name, positionals(getattr(cls, name)) > 1) for name in dict.fromkeys(names)]


def _creates_jobs(owner: type, name: str) -> None:
    _jobs.setdefault(owner, []).append(name)
    _listen(owner)


def _listen(owner: type) -> None:
    """Hear of the records of this class and its subclasses only: a flush of others costs nothing."""
    # All of them, whatever is asked for: a new record that is updated stays a new one, and one that is deleted is none.
    if not any(base in _heard for base in owner.__mro__):
        _heard.add(owner)
        for name, listener in _LISTENERS.items():
            event.listen(owner, name, listener, propagate=True)


def _added(session: Session, record: object) -> None:
    # Where the flush comes with the commit, the scope of the call may have been left by then.
    if _heard and isinstance(record, tuple(_heard)) and tracking.is_tracked(session):
        _state(record).info[_ADDED] = Current.capture()


def _inserted(_mapper: object, _connection: object, record: object) -> None:
    snapshot = _state(record).info.pop(_ADDED, None)
    _note("create", record, changes.created(_state(record)), snapshot)
    _enqueue(record, snapshot)


def _will_update(_mapper: object, _connection: object, record: object) -> None:
    # A value that the database computes is forgotten by the flush, and with it that there was a change.
    state = _state(record)
    state.info.pop(_UNSAVED, None)  # of a flush that failed
    if state.session is not None and state.session.is_modified(record, include_collections=False):
        state.info[_UNSAVED] = changes.unsaved(state)


def _updated(_mapper: object, _connection: object, record: object) -> None:
    before = _state(record).info.pop(_UNSAVED, None)
    if before is not None:
        _note("update", record, before)


def _deleted(_mapper: object, _connection: object, record: object) -> None:
    _note("destroy", record, {})


def _note(kind: Kind, record: object, before: Mapping[str, Any], snapshot: Snapshot | None = None) -> None:
    _root(record)
    cls = type(record)
    if any(_methods(cls, each) for each in _KINDS):
        with _its_transaction(record):
            transaction.on_commit(Change(kind, _state(record), record, _scope(snapshot, record), before))


def _enqueue(record: object, snapshot: Snapshot | None) -> None:
    """Enqueue what is wanted for a new record; it waits for the commit, or is written with it, like any job."""
    waiting = _handles.setdefault(_root(record), {})
    for name in dict.fromkeys(name for base in reversed(type(record).__mro__) for name in _jobs.get(base, ())):
        known = waiting.get((_state(record), name))
        if known is None or known.enqueued is not None:  # a class and its base may both be heard of
            with _its_transaction(record), Current.restored(_scope(snapshot, record)):
                waiting[_state(record), name] = getattr(record, name)()


def _will_commit(session: Session) -> None:
    """Take the jobs back of records that this transaction has created and deleted."""
    root = levels.root(session) if tracking.is_tracked(session) and session.get_nested_transaction() is None else None
    waiting = _handles.get(root) if root is not None else None
    if waiting:
        session.flush()
        for (state, _), handle in waiting.items():
            if state.deleted and handle.enqueued is None:
                handle.cancel()


def _scope(snapshot: Snapshot | None, record: object) -> Snapshot:
    """The scope of the change; where it was left before the flush, that of the record's own tenant."""
    found = snapshot or Current.capture()  # nothing was set when it was added, but perhaps there is now
    owner = identity.tenant_of(record) if found.scope == "unset" else None
    return found if owner is None else Snapshot(tenant_id=owner, attributes=found.attributes)


@contextmanager
def _its_transaction(record: object) -> Iterator[None]:
    """A part of this context in which the record's session is the only open one: no other decides about its commit."""
    with levels.apart():
        session = _state(record).session
        if session is not None:
            levels.note(session)
        yield


def _root(record: object) -> Root:
    session = _state(record).session
    root = levels.root(session) if session is not None and tracking.is_tracked(session) else None
    if root is None:
        raise ConfigurationError(
            f"{type(record).__name__} has methods that wait for a commit, and this session is not followed: call "
            f"tenantjobs_sqlalchemy.install(...) with what makes it"
        )
    return root


def _state(record: object) -> InstanceState[Any]:
    state: InstanceState[Any] = state_of(record)
    return state


_ADDED = "tenantjobs_added_in"
_UNSAVED = "tenantjobs_unsaved"
_KINDS: tuple[Kind, ...] = ("create", "update", "destroy")
_LISTENERS: dict[str, Callable[..., None]] = {
    "after_insert": _inserted,
    "before_update": _will_update,
    "after_update": _updated,
    "after_delete": _deleted,
}
_declarations: WeakKeyDictionary[type, dict[Kind, list[str]]] = WeakKeyDictionary()
_jobs: WeakKeyDictionary[type, list[str]] = WeakKeyDictionary()
_heard: WeakSet[type] = WeakSet()
_handles: WeakKeyDictionary[Root, dict[tuple[InstanceState[Any], str], Handle]] = WeakKeyDictionary()

changes.find_methods_by(_methods)
methods.after_creation(_creates_jobs)
event.listen(Session, "transient_to_pending", _added)
event.listen(Session, "before_commit", _will_commit, insert=True)  # before the jobs are written
