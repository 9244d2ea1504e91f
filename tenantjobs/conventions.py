"""The convention of models: ``deliver`` does it, ``deliver_later`` enqueues it, ``deliver_now`` is its other name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from tenantjobs.definition import JobOptions, refuse_unknown
from tenantjobs.errors import ConfigurationError
from tenantjobs.methods import Method
from tenantjobs.pairs import BoundLater, Later, UnboundLater

__all__ = ["BoundLater", "Later", "LaterOptions", "UnboundLater", "later"]

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F")


class LaterOptions(JobOptions, total=False):
    """What ``@later`` takes beside the options of every job."""

    after_create: bool


@overload
def later(method: Callable[Concatenate[S, P], R], /, **options: Unpack[LaterOptions]) -> Later[S, P, R]: ...
@overload
def later(**options: Unpack[LaterOptions]) -> Callable[[F], F]: ...
def later(method: Any = None, /, **options: Any) -> Any:
    """Make a method a job, under the names of the convention.

    ``@later(queue=...)`` over ``def deliver(self)`` plants ``deliver_later``, ``deliver_now``, ``adeliver_later`` and
    leaves ``deliver`` the bare method. The line ``deliver_later = later(deliver)`` under it says the same to type
    checkers; alone, it does the same. The record travels as a reference, loaded fresh. A ``classmethod`` and a
    ``staticmethod`` are decorated from above. With ``after_create=True`` it is enqueued for each new record, with the
    commit that creates it.

    ``ConfigurationError`` for anything else, for a misspelt option, for options that differ in the two spellings, and
    for a name that the class uses for something else already.
    """
    refuse_unknown(options, (*JobOptions.__annotations__, *LaterOptions.__annotations__), "@later")
    if method is None:
        return lambda function: Method(function, options)
    if not isinstance(method, Method):
        return Method(method, options)
    for option, value in options.items():
        if method.options.get(option) != (tuple(value) if option == "policies" else value):
            raise ConfigurationError(
                f"{method.function.__qualname__} is declared twice, with {option}={method.options.get(option)!r} and "
                f"with {option}={value!r}: keep the options in one place"
            )
    return method
