"""What an entry calls: a job, or anything else that can be called, by its importable path. Nothing is evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib import import_module
from typing import Any

import msgspec

from tenantjobs import definition
from tenantjobs.call import Call
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError
from tenantjobs.jobs import bound_call
from tenantjobs.spelling import nearest


class Target(msgspec.Struct, frozen=True):
    """A job with its arguments; or a plain callable, which the job ``tenantjobs.recurring.call`` calls."""

    path: str
    source: Any
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}

    @property
    def definition(self) -> Definition | None:
        """The job; None for a plain callable."""
        found = self.source if isinstance(self.source, Definition) else getattr(self.source, "__definition__", None)
        return found if isinstance(found, Definition) else None

    def call(self) -> Call:
        """The job with its arguments, in the scope that there is."""
        if isinstance(self.source, Definition):
            return bound_call(self.source, tuple(self.args), dict(self.kwargs))
        made: Call = self.source.call(*self.args, **self.kwargs)
        return made


def found(path: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, plain: bool) -> Target:
    """What ``path`` names, as ``"shop.jobs:CleanupJob"``, or a job's name; it takes the arguments.

    ``ConfigurationError`` says what is wrong. ``plain``: it need not be a job.
    """
    source = _imported(path) if ":" in path else _registered(path)
    target = Target(path, source, tuple(args), dict(kwargs))
    job = target.definition
    if job is None:
        if not callable(source):
            raise ConfigurationError(f"{path} is {source!r:.80}, which cannot be called")
        if not plain:
            raise ConfigurationError(f"{path} is no job: decorate it with @job, or name it in call:")
        if inspect.iscoroutinefunction(source):
            raise ConfigurationError(f"{path} is async, and nobody would await it: make it a job, with @job")
        _require_fit(path, inspect.signature(source), args, kwargs)
    else:
        _require_fit(path, job.signature, args, kwargs)
    return target


def _registered(name: str) -> Definition:
    known = definition.lookup(name)
    if known is not None:
        return known
    near = definition.nearest_name(name)
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigurationError(f"{name!r} is neither module:name, as shop.jobs:CleanupJob, nor the name of a job{hint}")


def _imported(path: str) -> Any:
    module_name, _, qualified = path.partition(":")
    parts = qualified.split(".")
    if not all(map(str.isidentifier, [*module_name.split("."), *parts])):
        raise ConfigurationError(f"{path!r}: module:name is wanted, as in shop.jobs:CleanupJob; nothing is evaluated")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"{path} cannot be imported: {error}") from error
    try:
        return reduce(getattr, parts, module)
    except AttributeError as error:
        near = nearest(parts[0], [name for name in vars(module) if not name.startswith("_")])
        hint = f"; did you mean {module_name}:{near}?" if near and near != parts[0] else ""
        raise ConfigurationError(f"{path} cannot be imported: {error}{hint}") from error


def _require_fit(path: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigurationError(f"{path} does not take args {list(args)} and kwargs {dict(kwargs)}: {error}") from None
