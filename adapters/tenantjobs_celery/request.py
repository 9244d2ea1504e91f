"""What a worker does for a task in its main process: timeouts, lost children and revocations, in the task's scope."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from celery.utils.imports import symbol_by_name

from tenantjobs.current import Current
from tenantjobs.snapshot import EMPTY
from tenantjobs_celery.header import Unreadable, carried, read


class TenantRequest:
    """Mixed into the worker's Request: where the child is dead, hooks and error callbacks run in the main process."""

    request_dict: dict[str, Any]

    def on_timeout(self, *args: Any, **kwargs: Any) -> Any:
        with _scope_of(self):
            return super().on_timeout(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request, which has it

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        with _scope_of(self):
            return super().on_failure(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request, which has it

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> Any:
        with _scope_of(self):
            return super()._announce_revoked(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> Any:
        with _scope_of(self):
            return super()._announce_cancelled(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request


class CoveredRequest:
    """``Task.Request``: the class that was there, with ``TenantRequest`` mixed in when a worker asks for it."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __get__(self, task: Any, owner: type | None = None) -> type:
        return _covered(symbol_by_name(self.original))


@cache
def _covered(request: type) -> type:
    if issubclass(request, TenantRequest):
        return request
    return type(request.__name__, (TenantRequest, request), {"__module__": request.__module__})


@contextmanager
def _scope_of(request: TenantRequest) -> Iterator[None]:
    try:
        snapshot = read(carried(request.request_dict))
    except Unreadable:
        snapshot = EMPTY  # the gate says so, where the task would run
    with Current.restored(snapshot):
        yield
