"""Plain jobs, many at once or one alone: nothing is made of each but its envelope and its handle.

Plain is a job that waits for no transaction, batch or key, and about which nobody is asked or told. What a message can
do beyond that takes as long as all the rest, and longer still where the garbage collector finds thousands of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import overload

from tenantjobs import encryption, gathering, instrumentation, transaction
from tenantjobs.adapter import Adapter, enqueue_each, has_transactions
from tenantjobs.arguments import freeze
from tenantjobs.call import Call
from tenantjobs.envelope import Envelope, new_id
from tenantjobs.errors import require_none_broken
from tenantjobs.handing import Sealed, logger
from tenantjobs.handle import Handle
from tenantjobs.hooks import EnqueueHook
from tenantjobs.template import Template


def enqueue(calls: Sequence[Call], target: Adapter) -> list[Handle] | None:
    """Enqueue them, and give their handles; None, and nothing was done, if one of them is not plain."""
    if not _is_simple(target):
        return None
    envelopes = Envelopes(calls, target)
    try:
        # A queue that stores all or none may write the first of them while the last are made.
        is_one_piece = target.capabilities.bulk and has_transactions(target)
        errors = enqueue_each(target, envelopes if is_one_piece else list(envelopes))
    except NotPlain:
        return None
    except Exception as error:
        if error is not envelopes.error:
            for envelope in envelopes.made:
                Sealed(envelope).refused(error)
        raise
    handles = [Handle(envelope.id, envelope.name, target) for envelope in envelopes]
    for handle, envelope in zip(handles, envelopes, strict=True):
        handle.enqueued = True
        if errors and handle.job_id in errors:
            handle.enqueued, handle.enqueue_error = False, errors[handle.job_id]
            Sealed(envelope).failed(errors[handle.job_id])
    require_none_broken(errors, handles)
    return handles


def enqueue_one(call: Call, target: Adapter) -> Handle | None:
    """The same for a job alone, which has hooks around its enqueuing, if there are any."""
    if not _is_simple(target) or call.definition.policies(EnqueueHook):
        return None
    template = Template(call, target)
    envelope = _sealed(call, template) if template.is_plain else None
    if envelope is None:
        return None
    try:
        target.enqueue(envelope)
    except Exception as error:
        Sealed(envelope).refused(error)
        raise
    handle = Handle(envelope.id, envelope.name, target)
    handle.enqueued = True
    return handle


class NotPlain(Exception):
    """One of the jobs is not."""


class Envelopes(Sequence[Envelope]):
    """Those of plain jobs, each made when it is first asked for; ``NotPlain``, or why one of them cannot be made."""

    def __init__(self, calls: Sequence[Call], target: Adapter) -> None:
        self.error: Exception | None = None
        self.made: list[Envelope] = []
        self._count = len(calls)
        self._making = _made(calls, target)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Envelope: ...
    @overload
    def __getitem__(self, index: slice) -> list[Envelope]: ...
    def __getitem__(self, index: int | slice) -> Envelope | list[Envelope]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Envelope]:
        yield from self.made
        if self.error is not None:
            raise self.error
        try:
            for envelope in self._making:
                self.made.append(envelope)
                yield envelope
        except Exception as error:
            self.error = error
            raise


def _is_simple(target: Adapter) -> bool:
    is_heard = instrumentation.listeners or logger.isEnabledFor(logging.INFO) or encryption.is_on()
    return not is_heard and gathering.current() is None and not transaction.takes(target)


def _made(calls: Sequence[Call], target: Adapter) -> Iterator[Envelope]:
    template: Template | None = None
    for call in calls:
        if template is None or not template.fits(call):
            template = Template(call, target)
            if not template.is_plain:
                raise NotPlain
        envelope = _sealed(call, template)
        if envelope is None:
            raise NotPlain
        yield envelope


def _sealed(call: Call, template: Template) -> Envelope | None:
    """None if there are records in it: whose they are is asked, and the last flush may give them their keys."""
    definition = call.definition
    frozen = freeze(definition.binding, call.args, call.kwargs, types=definition.types)
    return None if frozen.references else template.sealed(call, frozen, new_id())
