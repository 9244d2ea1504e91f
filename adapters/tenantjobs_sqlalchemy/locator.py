"""Records of mapped classes by name: from a record to its ``GlobalId``, and back to a record that is loaded fresh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import InstanceState, Mapper, Session

from tenantjobs import runtime
from tenantjobs.current import Current
from tenantjobs.errors import ArgumentError, RecordGone, RecordUnavailable, SerializationError, WrongTenant
from tenantjobs.identity import GlobalId, PendingRecord
from tenantjobs_sqlalchemy import keys, levels, models, reading, tracking
from tenantjobs_sqlalchemy.scoping import TenantScoped, owner_text, tenant_attribute

NO_ANSWER = (OperationalError, InterfaceError, DisconnectionError, PoolTimeout, OSError)


class RecordLocator:
    """The port ``tenantjobs.identity.Locator`` over all mapped classes."""

    def __init__(self) -> None:
        self.name: str | None = None

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        state = inspect(record, raiseerr=False)
        if not isinstance(state, InstanceState):
            return None
        session = state.session
        followed = session is not None and tracking.is_tracked(session)
        if session is not None and followed:
            levels.note(session)  # it may have begun in the context of another thread or task
        if state.key is not None:
            return self._gid(state, state.key[1])
        if state.pending and followed:
            return self._gid(state, _inserted_key(state)) if _is_inserted(state) else PendingRecord(record)
        raise SerializationError(_nameless(state))

    def model_of(self, cls: type) -> str | None:
        return models.name_of(cls) if models.is_mapped(cls) else None

    def knows(self, gid: GlobalId) -> bool:
        return gid.app in (self.name, runtime.settings().name) and models.find(gid.model) is not None

    def locate(self, gid: GlobalId) -> object:
        model, key = _place(gid)
        with _answering(gid):
            return reading.read(lambda session: _load(session, model, key, gid))

    async def alocate(self, gid: GlobalId) -> object:
        model, key = _place(gid)
        # Nobody changes the tenant's record in a job, so one without a session will do.
        detached = _is_tenant(model)
        with _answering(gid):
            return await reading.aread(lambda session: _load(session, model, key, gid), detached=detached)

    def tenant_of(self, record: object) -> str | None:
        state = inspect(record, raiseerr=False)
        if not isinstance(state, InstanceState):
            return None
        if isinstance(record, TenantScoped):
            owner = state.dict.get(
                tenant_attribute(type(record))
            )  # as far as it is loaded: nothing is read from the database here
        elif _is_tenant(type(record)):
            owner = state.key[1][0] if state.key is not None and len(state.key[1]) == 1 else None
        else:
            owner = None
        return None if owner is None else owner_text(owner)

    def _gid(self, state: InstanceState[Any], key: tuple[Any, ...]) -> GlobalId:
        model = state.mapper.class_
        try:
            texts = tuple(keys.text_of(value) for value in key)
            return GlobalId(self.name or runtime.settings().name, models.name_of(model), texts)
        except ValueError as error:
            raise SerializationError(f"{model.__name__} with the key {key!r:.80} cannot travel: {error}") from error


def _is_inserted(state: InstanceState[Any]) -> bool:
    """Whether a flush that is under way has given the record its key already."""
    root = levels.root(state.session) if state.session is not None else None
    return root is not None and root.flushing and None not in _inserted_key(state)


def _inserted_key(state: InstanceState[Any]) -> tuple[Any, ...]:
    names = (state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key)
    return tuple(state.dict.get(name) for name in names)


def _nameless(state: InstanceState[Any]) -> str:
    name = state.mapper.class_.__name__
    if state.pending:
        return (
            f"{name} has no key yet, and waits for it in a session that tenantjobs does not follow: flush it first, or "
            f"call tenantjobs_sqlalchemy.install(...) with what makes this session"
        )
    return f"{name} has no key and is in no session, so no worker could find it: add it to a session and flush it first"


def _place(gid: GlobalId) -> tuple[type, Any]:
    """The class and the primary key that the name means."""
    model = models.find(gid.model)
    if model is None:
        raise ArgumentError(f"{gid}: no class called {gid.model!r} is mapped here; import it in the module of `app`")
    columns = _mapper(model).primary_key
    if len(columns) != len(gid.key):
        raise ArgumentError(f"{gid}: the primary key of {gid.model} has {len(columns)} columns, not {len(gid.key)}")
    try:
        key = tuple(keys.value_of(text, column) for text, column in zip(gid.key, columns, strict=True))
    except ValueError as error:
        raise ArgumentError(f"{gid}: not a key of {gid.model}: {error}") from error
    return model, key[0] if len(key) == 1 else key


def _load(session: Session, model: type, key: Any, gid: GlobalId) -> object:
    known = session.identity_map.get(session.identity_key(model, key))
    # What this session has changed and not flushed is newer than the database, and would be lost.
    record: object | None = session.get(model, key, populate_existing=known is None or known not in session.dirty)
    if record is None:
        raise _missing(session, model, key, gid)
    return record


def _missing(session: Session, model: type, key: Any, gid: GlobalId) -> RecordGone | WrongTenant:
    """A record that another tenant has is not gone: the job would be given up instead of being looked at."""
    if issubclass(model, TenantScoped) and Current.scope == "tenant":
        key = key if isinstance(key, tuple) else (key,)
        criteria = (column == value for column, value in zip(_mapper(model).primary_key, key, strict=True))
        with Current.system("whose record is it"):
            owner = session.scalar(select(getattr(model, tenant_attribute(model))).where(*criteria))
        if owner is not None:
            return WrongTenant(f"{gid} belongs to tenant {owner}, not to {Current.tenant_id}")
    return RecordGone(f"{gid} does not exist any more; a job says what then, with @discard_on(RecordGone)")


@contextmanager
def _answering(gid: GlobalId) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, *NO_ANSWER) as error:
        if isinstance(error, DBAPIError) and not isinstance(error, NO_ANSWER) and not error.connection_invalidated:
            raise
        raise RecordUnavailable(
            f"{gid} could not be loaded: {type(error).__name__}: {error}; a job can wait for the database, with "
            f"@retry_on(RecordUnavailable)"
        ) from error


def _is_tenant(model: type) -> bool:
    kind = runtime.settings().tenant
    return isinstance(kind, type) and issubclass(model, kind)


def _mapper(model: type) -> Mapper[Any]:
    mapper: Mapper[Any] = inspect(model)
    return mapper
