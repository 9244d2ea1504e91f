"""Jobs on their way to the queue: at once, or with the open transaction."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from tenantjobs import adapter, bulk, gathering, together, transaction
from tenantjobs.adapter import Adapter, enqueue_each, has_transactions
from tenantjobs.admission import Admitted, admit, enqueue_admitted
from tenantjobs.call import Call
from tenantjobs.errors import DuplicateJob, LimitReached, require_none_broken
from tenantjobs.gathering import Gathering
from tenantjobs.handing import Sealed
from tenantjobs.handle import Handle
from tenantjobs.locks import in_one_transaction, writes_more
from tenantjobs.message import Message
from tenantjobs.template import Template


def enqueue(call: Call) -> Handle:
    """Enqueue now, or with the open transaction or batch of this context."""
    target = adapter.configured()
    handle = bulk.enqueue_one(call, target)
    return leave(Message(call, target, batch=gathering.current()), target) if handle is None else handle


def leave(message: Message, target: Adapter) -> Handle:
    """Enqueue a job that was made before, with the hooks around that."""
    with ExitStack() as hooks:
        if message.begin(hooks) and _not_held([message], target) and _enqueued(message, target):
            message.sent()
    return message.handle


def aenqueue(call: Call) -> Coroutine[Any, Any, Handle]:
    """The same, without blocking the event loop. Tenant and arguments are those of the call, not of the await."""
    target = adapter.configured()
    return aleave(Message(call, target, batch=gathering.current()), target)


def aleave(message: Message, target: Adapter) -> Coroutine[Any, Any, Handle]:
    """The same for a job that was made before."""
    with ExitStack() as hooks:
        leaving = message.begin(hooks) and bool(_not_held([message], target))
        return _arrived(message, target, hooks.pop_all() if leaving else None)


def enqueue_all(calls: Sequence[Call]) -> list[Handle]:
    """Enqueue many jobs in one round trip where the adapter can; nothing is stored if one of them is refused."""
    target = adapter.configured()
    handles = bulk.enqueue(calls, target)
    return leave_all(messages(calls, target, gathering.current()), target) if handles is None else handles


def messages(calls: Sequence[Call], target: Adapter, batch: Gathering | None) -> list[Message]:
    """Their messages; what some in a row have in common is looked at once."""
    made: list[Message] = []
    template: Template | None = None
    for call in calls:
        if template is None or not template.fits(call):
            template = Template(call, target)
        made.append(Message(call, target, template=template, batch=batch))
    return made


def leave_all(messages: Sequence[Message], target: Adapter) -> list[Handle]:
    """The same with jobs that were made before."""
    leaving = _not_held(messages, target)
    if leaving:
        _tell(messages, *_enqueued_all(leaving, target))
    return _handles(messages)


def aenqueue_all(calls: Sequence[Call]) -> Coroutine[Any, Any, list[Handle]]:
    """The same, without blocking the event loop. Tenant and arguments are those of the call, not of the await."""
    target, batch = adapter.configured(), gathering.current()
    return aleave_all(messages(calls, target, batch), target)


def aleave_all(messages: Sequence[Message], target: Adapter) -> Coroutine[Any, Any, list[Handle]]:
    """The same with jobs that were made before."""
    return _all_arrived(messages, _not_held(messages, target), target)


def _not_held(messages: Sequence[Message], target: Adapter) -> list[Message]:
    """Those that leave now; the open transaction of this context takes the others, and so does the block of a batch."""
    batch = messages[0].batch if messages else None
    if batch is not None:
        return _not_gathered(messages, batch, target)
    waiting = [message for message in messages if message.after_commit]
    leaving = [message for message in messages if not message.after_commit]
    if leaving:
        transaction.refuse_obstacle(leaving[0].name, target)
    if waiting and transaction.hold(waiting, target):
        return leaving
    return list(messages)


def _not_gathered(messages: Sequence[Message], batch: Gathering, target: Adapter) -> list[Message]:
    """The same for jobs of a batch. They leave together, also those that do not wait for a commit otherwise."""
    if not batch.over:
        batch.noted += messages
    if transaction.hold(messages, target) or gathering.kept(messages, batch):
        return []
    return list(messages)


def _enqueued(message: Message, target: Adapter) -> bool:
    """Hand it to the queue; False, or ``DuplicateJob``, if its key has as many jobs as it may have."""
    with _refused([message]):
        envelope = message.seal()
        wish = message.wish
        if not writes_more(message):
            target.enqueue(envelope)
            return True
        with in_one_transaction([message], target) as connection:
            admitted = admit([message], target, connection)
            errors = enqueue_admitted(admitted, target, connection)
        _tell_others(admitted, errors)
        if message in admitted:
            error = errors.get(message.job_id)
        else:
            error = message.handle.enqueue_error
            raises = wish is not None and wish.on_conflict == "raise" and not isinstance(error, LimitReached)
            if isinstance(error, DuplicateJob) and not raises:
                return False
        if error is not None:
            raise error
    return message in admitted


def _tell_others(admitted: Sequence[Admitted], errors: Mapping[str, Exception]) -> None:
    """Tell what has left with the jobs: the callbacks of a batch in which all of them were refused."""
    for other in admitted:
        if isinstance(other, Sealed) and other.job_id in errors:
            other.failed(errors[other.job_id])
        elif isinstance(other, Sealed):
            other.sent()


def _enqueued_all(messages: Sequence[Message], target: Adapter) -> tuple[list[Message], Mapping[str, Exception]]:
    """Those that were handed to the queue, and why some of them did not get there; duplicates have been told."""
    with _refused(messages):
        envelopes = [message.seal() for message in messages]
        if not any(map(writes_more, messages)):
            return list(messages), enqueue_each(target, envelopes)
        with in_one_transaction(messages, target) as connection:
            admitted = admit(messages, target, connection)
            errors = enqueue_admitted(admitted, target, connection)
        _tell_others(admitted, errors)
        remaining = set(admitted)
        return [message for message in messages if message in remaining], errors


def _tell(messages: Sequence[Message], sent: Sequence[Message], errors: Mapping[str, Exception]) -> None:
    """Tell each job how it went. An error that is not about the job itself is raised."""
    for message in sent:
        if message.job_id in errors:
            message.failed(errors[message.job_id])
        else:
            message.sent()
    require_none_broken(errors, _handles(messages))


@contextmanager
def _refused(messages: Sequence[Message]) -> Iterator[None]:
    """What is raised inside is why none of them was enqueued."""
    try:
        yield
    except Exception as error:
        for message in messages:
            message.refused(error)
        raise


def _handles(messages: Sequence[Message]) -> list[Handle]:
    return [message.handle for message in messages]


async def _arrived(message: Message, target: Adapter, hooks: ExitStack | None) -> Handle:
    if hooks is not None:
        with hooks:
            if await _aenqueued(message, target):
                message.sent()
    return message.handle


async def _aenqueued(message: Message, target: Adapter) -> bool:
    if writes_more(message) or not has_transactions(target):
        found: bool = await _in_thread(_enqueued, message, target)
        return found
    with _refused([message]):
        await together.enqueue(message.seal(), target)
    return True


async def _all_arrived(messages: Sequence[Message], leaving: Sequence[Message], target: Adapter) -> list[Handle]:
    if leaving:
        _tell(messages, *await _in_thread(_enqueued_all, leaving, target))
    return _handles(messages)


async def _in_thread(function: Any, *args: Any) -> Any:
    # asyncio is loaded by whoever runs a loop; importing it here would cost every importer of tenantjobs.
    return await import_module("asyncio").to_thread(function, *args)
