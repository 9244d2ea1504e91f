"""The block that makes a batch of what is enqueued inside of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from tenantjobs import adapter, enqueuing, filling, gathering
from tenantjobs.batches import Batch, in_thread
from tenantjobs.call import Call
from tenantjobs.current import Current
from tenantjobs.definition import Definition
from tenantjobs.envelope import new_id
from tenantjobs.errors import ConfigurationError, SerializationError
from tenantjobs.gathering import Gathering
from tenantjobs.membership import CALLBACKS, batches_for
from tenantjobs.message import Message
from tenantjobs.options import NO_OPTIONS

if TYPE_CHECKING:
    from typing import TypeAlias

    from tenantjobs.jobs import Configured, Job, JobFunction

    Callback: TypeAlias = Call | JobFunction[..., Any] | type[Job] | Configured[..., Any]


def batch(
    *,
    on_success: Callback | None = None,
    on_failure: Callback | None = None,
    on_finish: Callback | None = None,
    description: str | None = None,
    properties: Mapping[str, Any] | None = None,
    parent: Batch | None = None,
) -> BatchBlock:
    """A batch of all jobs that are enqueued inside of its block; they leave at its end, together.

    Each callback is a job of its own, or a call of one, that is enqueued once, for the tenant that makes the batch:
    ``on_success`` when all jobs have finished, ``on_failure`` when the first one has failed or was discarded, and
    ``on_finish`` when all have ended, either way. A job that has a parameter ``batch`` gets the ``Batch`` as that.
    ``properties`` are JSON that callbacks can read.

    An error in the block drops the jobs. In a transaction the batch commits with it. In the block of another batch, or
    with ``parent``, that one is not over before this is. ``ConfigurationError`` where there is no ledger.
    """
    batches_for("tenantjobs.batch(...) counts jobs")
    outer = gathering.current() if parent is None else _gathering_of(parent)
    made = Gathering(
        new_id(),
        Current.tenant_id,
        description=_described(description),
        properties=_json(properties or {}),
        parent=outer,
    )
    if outer is not None:
        outer.refuse_foreign("a batch", made.tenant_id)
    given = dict(zip(CALLBACKS, (on_success, on_failure, on_finish), strict=True))
    return BatchBlock(made, {name: _callback(name, job) for name, job in given.items() if job is not None})


class BatchBlock:
    """What ``batch(...)`` gives: ``with`` it, or ``async with`` it, once."""

    def __init__(self, gathering: Gathering, callbacks: Mapping[str, Callable[[Batch], Call]]) -> None:
        self._gathering = gathering
        self._callbacks = callbacks
        self._block: AbstractContextManager[None] | None = None

    def __enter__(self) -> Batch:
        if self._block is not None:
            raise ConfigurationError("a batch is made by one block: call tenantjobs.batch(...) again for another one")
        made, target = Batch(self._gathering), adapter.configured()
        self._gathering.callbacks = {
            name: Message(call(made), target, batch=self._gathering.parent, called_back_by=self._gathering)
            for name, call in self._callbacks.items()
        }
        self._block = gathering.filling(self._gathering)
        self._block.__enter__()
        return made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving = self._left(error)
        if leaving:
            enqueuing.leave_all(leaving, adapter.configured())
        filling.close(self._gathering)

    async def __aenter__(self) -> Batch:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving = self._left(error)
        if leaving:
            await enqueuing.aleave_all(leaving, adapter.configured())
        if self._gathering.is_open_elsewhere:
            await in_thread(filling.close, self._gathering)

    def _left(self, error: BaseException | None) -> list[Any]:
        assert self._block is not None
        self._block.__exit__(None, None, None)
        return filling.given_up(self._gathering) if error is not None else filling.filled(self._gathering)


def _callback(name: str, job: Any) -> Callable[[Batch], Call]:
    if isinstance(job, Call):
        return lambda _batch: job
    definition = getattr(job, "__definition__", None)
    if not isinstance(definition, Definition):
        raise ConfigurationError(
            f"batch({name}={job!r:.120}): a job is wanted, or a call of one, as in {name}=notify.call(7)"
        )
    kwargs = "batch" in definition.signature.parameters
    try:
        definition.signature.bind(**({"batch": None} if kwargs else {}))
    except TypeError as error:
        raise ConfigurationError(f"batch({name}={definition.name}): {error}; give it a call of the job") from None
    options = getattr(job, "__options__", NO_OPTIONS)  # of a job with set(...)
    return lambda made: Call(definition, (), {"batch": made} if kwargs else {}, options)


def _gathering_of(parent: Batch) -> Gathering:
    given: object = parent
    if not isinstance(given, Batch):
        raise ConfigurationError(f"batch(parent={given!r:.120}): a batch is wanted, as current_batch() gives it")
    return given.gathering


def _described(description: object) -> str | None:
    if description is None or isinstance(description, str):
        return description
    raise ConfigurationError(f"batch(description={description!r:.120}): a text is wanted")


def _json(properties: Mapping[str, Any]) -> str:
    given: object = properties
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(f"batch(properties={given!r:.120}): a mapping by names is wanted")
    try:
        text = msgspec.json.encode(dict(given)).decode()
    except (TypeError, ValueError) as error:
        raise SerializationError(f"batch(properties=...) are JSON, and cannot travel: {error}") from error
    return text
