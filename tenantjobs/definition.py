"""What a job is, whichever way it was written: its name, its options, its policies, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from tenantjobs import runtime, spelling
from tenantjobs.arguments import types_of
from tenantjobs.binding import Binding
from tenantjobs.codec.classes import module_name
from tenantjobs.errors import ConfigurationError
from tenantjobs.handlers import ErrorPolicy, nearest, retry_on
from tenantjobs.hooks import Hook
from tenantjobs.idempotency import idempotent
from tenantjobs.limits import limits_concurrency
from tenantjobs.options import check_options
from tenantjobs.policies import Policy, listed, own
from tenantjobs.rates import limits_rate
from tenantjobs.uniqueness import unique
from tenantjobs.waits import LONGEST

Tenancy = Literal["required", "optional", "observe", "none"]
P = TypeVar("P", bound=Policy)


class JobOptions(TypedDict, total=False):
    """What ``@job`` and ``@later`` take: one list, for people, type checkers and the check of spelling."""

    name: str | None
    aliases: Iterable[str]
    queue: str
    priority: int
    tenancy: Tenancy | None
    session: bool
    transactional: bool
    enqueue_after_commit: bool
    choose_queue: Callable[..., str | None] | None
    choose_priority: Callable[..., int | None] | None
    timeout: float | timedelta | None
    max_resumptions: int | None
    keep_result: bool
    policies: Sequence[Policy]


class Definition:
    """A job that the registry knows by name.

    ``function`` takes what ``leading()`` gives (the job object where it ``has_object``, for a ``Job`` class) and then
    the arguments.
    ``source`` is what the user wrote: the function, the class or the method.
    """

    def __init__(
        self,
        *,
        name: str,
        source: Any,
        function: Callable[..., Any],
        parameters: Callable[..., Any],
        leading: Callable[[], tuple[Any, ...]] = tuple,
        has_object: bool = False,
        levels: Callable[[], Sequence[Sequence[Policy]]],
        aliases: Iterable[str] = (),
        queue: str = "default",
        priority: int = 0,
        tenancy: Tenancy | None = None,
        session: bool = True,
        transactional: bool = False,
        enqueue_after_commit: bool = True,
        choose_queue: Callable[..., str | None] | None = None,
        choose_priority: Callable[..., int | None] | None = None,
        timeout: float | timedelta | None = None,
        max_resumptions: int | None = None,
        keep_result: bool = False,
    ) -> None:
        self.aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        _check(name, self.aliases, queue, priority, tenancy, parameters)
        if transactional and not session:
            raise ConfigurationError(
                f"job {name}: transactional=True commits its completion with its session, and session=False leaves "
                f"that out; keep one of them"
            )
        self.name = name
        self.source = source
        self.function = function
        self.leading = leading
        self.has_object = has_object
        self.queue = queue
        self.priority = priority
        self.session = session
        self.transactional = transactional
        self.enqueue_after_commit = enqueue_after_commit
        self.choose_queue = choose_queue
        self.choose_priority = choose_priority
        self.timeout = _checked_timeout(name, timeout)
        self.max_resumptions = _checked_resumptions(name, max_resumptions)
        self.keep_result = keep_result
        self._tenancy: Tenancy | None = tenancy
        self._parameters = parameters
        self._levels = levels
        self._by_kind: dict[type[Policy], tuple[Any, ...]] = {}

    @property
    def tenancy(self) -> Tenancy:
        """What the job declares, else what the configuration says for all jobs."""
        if self._tenancy is not None:
            return self._tenancy
        configured = runtime.settings().tenancy
        if configured == "none":
            return "optional"  # a single-tenant application has no tenant to require: its jobs keep the scope there is
        return configured

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(inspect.unwrap(self._parameters))

    @cached_property
    def signature(self) -> inspect.Signature:
        """The parameters that a caller passes; a method's record is the first of them."""
        signature = inspect.signature(self._parameters)
        skipped = len(self.leading())
        return signature.replace(parameters=list(signature.parameters.values())[skipped:])

    @cached_property
    def binding(self) -> Binding:
        return Binding(self.name, self.signature)

    @cached_property
    def types(self) -> dict[str, type]:
        """The enums, dataclasses and structs that the annotations name: what arguments may be rebuilt as."""
        try:
            hints = get_type_hints(self._parameters)
        except Exception:  # a name that exists for type checkers only; such arguments are found by module then
            hints = {}
        return dict(types_of(hints))

    @cached_property
    def levels(self) -> tuple[tuple[Policy, ...], ...]:
        """The declared policies, from the subclass upwards."""
        return tuple(tuple(level) for level in self._levels())

    def handler(self, error: BaseException) -> ErrorPolicy | None:
        """The declaration that decides about ``error``."""
        return nearest(self.levels, error)

    def policies(self, kind: type[P]) -> tuple[P, ...]:
        """The policies of one kind, those of the base class first."""
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = _latest(
                policy for level in reversed(self.levels) for policy in level if isinstance(policy, kind)
            )
        return found

    @cached_property
    def idempotent(self) -> idempotent | None:
        """Its key guard: that of the subclass before that of the base."""
        return self._one(idempotent)

    @cached_property
    def unique(self) -> unique | None:
        """How it is kept from being enqueued twice: as the subclass says, before the base."""
        return self._one(unique)

    @cached_property
    def limit(self) -> limits_concurrency | None:
        """How many of it run at once: as the subclass says, before the base."""
        return self._one(limits_concurrency)

    @cached_property
    def rate(self) -> limits_rate | None:
        """How many of it start in a stretch of time: as the subclass says, before the base."""
        return self._one(limits_rate)

    @cached_property
    def has_keys(self) -> bool:
        """Whether it is sealed with keys of its guards and limits."""
        return any(each is not None for each in (self.idempotent, self.unique, self.limit, self.rate))

    @cached_property
    def has_priority_of_retries(self) -> bool:
        """Whether a retry of it has another priority than the job."""
        return any(policy.priority for policy in self.policies(retry_on))

    @cached_property
    def asks_the_caller(self) -> bool:
        """Whether code of the user decides about the job where it is enqueued, beside the hooks around that."""
        choosers = (self.choose_queue, self.choose_priority)
        return self.has_object or self.has_keys or any(each is not None for each in choosers)

    @property
    def keeps_transaction(self) -> bool:
        """Whether something is to commit with its work, so that it may not end the transaction by itself."""
        return self.transactional or self.idempotent is not None

    def _one(self, kind: type[P]) -> P | None:
        for level in self.levels:
            found = [policy for policy in level if isinstance(policy, kind)]
            if len(found) > 1:
                raise ConfigurationError(f"job {self.name} is @{kind.__name__} twice: it has one key, so keep one")
            if found:
                return found[0]
        return None

    def __repr__(self) -> str:
        return f"<job {self.name}>"


registry: dict[str, Definition] = {}
# Jobs of our own, and the modules that are imported when one of them is first asked for.
OURS = {"tenantjobs.recurring.call": "tenantjobs.recurring.calling"}
_learners: list[Callable[[], None]] = []


def register(definition: Definition) -> Definition:
    """Make the job known by its name and aliases. Two different jobs of one name are a ConfigurationError."""
    for name in (definition.name, *definition.aliases):
        other = registry.get(name)
        if other is not None and _place(other) != _place(definition):
            raise ConfigurationError(
                f"two jobs are called {name!r}: {_place(other)} and {_place(definition)}: give one another name="
            )
    for name in (definition.name, *definition.aliases):
        registry[name] = definition
    return definition


def lookup(name: str) -> Definition | None:
    """The job of that name or alias. Only what has been imported is known; nothing else is imported here."""
    found = registry.get(name)
    if found is None and name in OURS:
        found = registry[name] = import_module(OURS[name]).call_entry.__definition__
    if found is None:
        for learn in _learners:
            learn()
        found = registry.get(name)
    return found


def learn_by(learn: Callable[[], None]) -> None:
    """Call ``learn`` before a name counts as unknown: it may register jobs of classes that have appeared since."""
    _learners.append(learn)


def refuse_unknown(options: Iterable[str], known: Iterable[str], where: str) -> None:
    """ConfigurationError for an option that ``where`` does not have, with the one that was probably meant."""
    known = list(known)
    for option in options:
        if option not in known:
            like = spelling.nearest(option, known)
            hint = f"did you mean {like}?" if like else f"there are {', '.join(sorted(set(known)))}"
            raise ConfigurationError(f"{where} has no option {option!r}: {hint}")


def declared(target: object) -> tuple[Policy, ...]:
    """The policies of a class or function itself: those that decorate it, and a list ``policies`` of a mixin."""
    found = own(target)
    given = target.__dict__.get("policies", ()) if isinstance(target, type) else ()
    if isinstance(given, Policy):
        listed(given, target)  # which says what to write
    if isinstance(given, list | tuple) and all(isinstance(each, Policy) for each in given):
        found = (*found, *(each for each in given if each not in found))
    return found


def require_registered(definition: Definition) -> None:
    """ConfigurationError if the name leads elsewhere by now: a worker would run another job."""
    if registry.get(definition.name) is not definition:
        raise ConfigurationError(
            f"another job was defined under the name {definition.name!r} after this one, and workers would run that: "
            f"give each a name= of its own"
        )


def nearest_name(name: str) -> str | None:
    """The registered name that ``name`` is probably meant to be, for an error message."""
    return spelling.nearest(name, registry)


def default_name(thing: Any) -> str:
    """``module.qualified_name``; a script that is run as ``__main__`` is known by its file, as its workers know it."""
    return f"{module_name(thing.__module__)}.{thing.__qualname__}"


def _place(definition: Definition) -> str:
    parameters = inspect.unwrap(definition._parameters)
    return f"{parameters.__module__}.{parameters.__qualname__}"


def _latest(policies: Iterable[P]) -> tuple[P, ...]:
    """Each hook once: one that a subclass declares again is bound by name, and would run twice."""
    found: dict[object, P] = {}
    for policy in policies:
        name = policy.name if isinstance(policy, Hook) else None
        found.setdefault((type(policy), name) if name else id(policy), policy)
    return tuple(found.values())


def _checked_timeout(name: str, timeout: object) -> float | None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise ConfigurationError(f"job {name}: timeout={timeout!r}: seconds over 0, or a timedelta, are wanted")
    return float(seconds)


def _checked_resumptions(name: str, most: object) -> int | None:
    if most is None or (type(most) is int and most >= 0):
        return most
    raise ConfigurationError(f"job {name}: max_resumptions={most!r}: a whole number from 0 on is wanted, or None")


def _check(
    name: object, aliases: tuple[object, ...], queue: object, priority: object, tenancy: object, function: object
) -> None:
    for each in (name, *aliases):
        if not isinstance(each, str) or not each:
            raise ConfigurationError(f"a job's name is a text that is not empty, not {each!r}")
    try:
        check_options(queue, priority)
    except ConfigurationError as error:
        raise ConfigurationError(f"job {name}: {error}") from None
    if queue is None or priority is None:
        raise ConfigurationError(f"job {name}: queue and priority have defaults; leave them out rather than None")
    if tenancy not in (None, "required", "optional", "observe", "none"):
        raise ConfigurationError(f"job {name}: tenancy is 'required', 'optional', 'observe' or 'none', not {tenancy!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"job {name} is a generator, which would return without running: remove the yield")
