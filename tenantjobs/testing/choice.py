"""Which jobs a helper is about: ``only`` these, all ``except_`` those, of this queue."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import msgspec

from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError

Jobs = Any  # a class, a @job function, Model.method_later, a name, or several of them


class Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def queue(self) -> str: ...


class Choice(msgspec.Struct, frozen=True):
    """The jobs that were asked for."""

    only: frozenset[str] | None = None
    except_: frozenset[str] = frozenset()
    queues: frozenset[str] | None = None

    @classmethod
    def of(cls, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None) -> Choice:
        """``ConfigurationError`` for ``only`` and ``except_`` together, and for what is no job."""
        if only is not None and except_ is not None:
            raise ConfigurationError("only= and except_= say two things about the same jobs: pass one of them")
        queues = None if queue is None else frozenset([queue] if isinstance(queue, str) else queue)
        return cls(None if only is None else _names(only), _names(except_ or ()), queues)

    def has(self, job: Named) -> bool:
        return (
            (self.only is None or job.name in self.only)
            and job.name not in self.except_
            and (self.queues is None or job.queue in self.queues)
        )


def name_of(job: Any) -> str:
    """The name of a job that is given as whatever stands for it in code."""
    if isinstance(job, str):
        return job
    found = getattr(job, "__definition__", None)
    if not isinstance(found, Definition):
        raise ConfigurationError(f"job={job!r} is no job: pass a class, a @job function, Model.method_later or a name")
    return found.name


def _names(jobs: Jobs) -> frozenset[str]:
    several = isinstance(jobs, (list, tuple, set, frozenset))
    return frozenset(map(name_of, jobs if several else [jobs]))
