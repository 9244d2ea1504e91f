"""What a worker does for a task in its main process: timeouts, lost children and revocations, in the task's scope."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from celery.utils.imports import symbol_by_name

from tenantjobs.carriage import Delivery
from tenantjobs.signer import Part
from tenantjobs_celery.delivery import named
from tenantjobs_celery.header import carried
from tenantjobs_celery.sealing import covered


class TenantRequest:
    """Mixed into the worker's Request: where the child is dead, hooks and error callbacks run in the main process."""

    request_dict: dict[str, Any]
    name: str
    id: str
    _payload: Any

    def on_timeout(self, *args: Any, **kwargs: Any) -> Any:
        with _delivery(self):
            return super().on_timeout(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request, which has it

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        with _delivery(self):
            return super().on_failure(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request, which has it

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> Any:
        with _delivery(self):
            return super()._announce_revoked(*args, **kwargs)  # type: ignore[misc]  # mixed into a Request

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> Any:
        with _delivery(self):
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


def _delivery(request: TenantRequest) -> Delivery:
    def of_message() -> list[Part]:
        args, kwargs, embed = request._payload
        return covered(request.name, request.id, args, kwargs, embed or {})

    return Delivery.of(carried(request.request_dict), partial(named, request.name, request.id), of_message)
