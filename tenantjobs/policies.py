"""What is declared about a job: which errors are retried or discarded, what runs around it, when it is skipped.

A policy is an object that decorates: it keeps the type of a class, a job function or a method, in any
stacking order, and can be gathered in ``policies=[...]`` or on a mixin class.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from tenantjobs.errors import ConfigurationError, EnvelopeError

T = TypeVar("T")

Matcher = type[BaseException] | Callable[[BaseException], bool]
Wait = float | timedelta | str | Sequence[float] | Callable[..., "float | timedelta | None"]

UNLIMITED = "unlimited"


class Policy:
    """Something declared about a job; decorating with it attaches it and returns the target as it was."""

    def __call__(self, target: T, /) -> T:
        attach(target, (self,))
        return target


class ErrorPolicy(Policy):
    """A policy that answers for some errors: classes, or predicates on the error."""

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None, report: bool) -> None:
        self.errors = errors
        given: tuple[object, ...] = errors  # whatever they were declared as, they are looked at
        self.then = then
        self.report = report
        verb = type(self).__name__
        if not errors:
            raise ConfigurationError(f"{verb}() names no error: say which ones, as in {verb}(ConnectionError)")
        for error in given:
            if isinstance(error, type) and issubclass(error, EnvelopeError):
                raise ConfigurationError(
                    f"{verb}({error.__name__}): an unreadable envelope is quarantined before any handler; leave it out"
                )
            if not callable(error) or (isinstance(error, type) and not issubclass(error, BaseException)):
                raise ConfigurationError(f"{verb}({error!r}): an error class or a predicate on the error is wanted")

    def distance(self, error: BaseException) -> int | None:
        """How near this declaration is to ``error``: predicates first, then the error's own class, then its bases."""
        mro = type(error).__mro__
        found: list[int] = []
        for matcher in self.errors:
            if isinstance(matcher, type):
                if matcher in mro:
                    found.append(mro.index(matcher))
            elif matcher(error):
                found.append(-1)
        return min(found, default=None)


class retry_on(ErrorPolicy):
    """Perform the job again when it raises one of ``errors``.

    ``attempts`` counts the first run; ``"unlimited"`` never stops. ``wait`` is seconds, a timedelta,
    ``"polynomially_longer"`` (3, 18, 83, 258 ... seconds), ``"exponentially_longer"`` (3, 6, 12 ...), a list (its last
    value stays), or a callable of ``(executions)`` or ``(executions, error)`` whose None means at once. ``jitter``
    is the share of a constant or polynomial wait that is added at random at most. ``then(job, error)`` is called
    instead of failing the job when the attempts are used up. ``queue`` and ``priority`` apply to the retries.
    """

    def __init__(
        self,
        *errors: Matcher,
        wait: Wait = 3.0,
        attempts: int | str = 5,
        jitter: float = 0.15,
        queue: str | None = None,
        priority: int | None = None,
        report: bool = False,
        key: str | None = None,
        then: Callable[..., object] | None = None,
    ) -> None:
        super().__init__(*errors, then=then, report=report)
        self.wait = _checked_wait(wait)
        self.attempts = _checked_attempts(attempts)
        self.jitter = jitter
        self.queue = queue
        self.priority = priority
        # The counter of a job in flight is found by this text: it must not depend on declaration order or place.
        self.key = key or "+".join(sorted(_matcher_name(error) for error in errors))

    def exhausted(self, executions: int) -> bool:
        return self.attempts is not None and executions >= self.attempts

    def delay(self, executions: int, error: BaseException) -> float:
        """Seconds until the next attempt, after ``executions`` of them."""
        wait = self.wait
        if callable(wait):
            return _seconds(_call_wait(wait, executions, error))
        if isinstance(wait, str):
            if wait == "exponentially_longer":
                return 3.0 * 2.0 ** (executions - 1)
            base = float(executions**4)
            return base + self._jittered(base) + 2
        if isinstance(wait, tuple):
            return float(wait[min(executions, len(wait)) - 1])
        return wait + self._jittered(wait)

    def _jittered(self, base: float) -> float:
        # A share in [0, 1). `random` would bring every importer of tenantjobs a hash library.
        share = int.from_bytes(os.urandom(4)) / 2**32
        return share * base * self.jitter


class discard_on(ErrorPolicy):
    """Give the job up, without failing it, when it raises one of ``errors``; ``then(job, error)`` is called first."""

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None = None, report: bool = False) -> None:
        super().__init__(*errors, then=then, report=report)


class guard(Policy):
    """Perform only if ``predicate`` says so for the loaded arguments; otherwise the job is skipped, and says so.

    The predicate takes the parameters of what it decorates: a function its arguments, a method its record first,
    a ``Job`` class the job first.
    """

    def __init__(self, predicate: Callable[..., object]) -> None:
        if not callable(predicate):
            raise ConfigurationError(f"guard({predicate!r}): a callable is wanted")
        self.predicate = predicate


class Hook(Policy):
    """A function that runs around a job, with the parameters of what it decorates."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise ConfigurationError(f"{type(self).__name__}({function!r}): a callable is wanted")
        self.function = function

    def __set_name__(self, owner: type, name: str) -> None:
        # `@before_perform` on a method of a Job class: the method stays a method, and the class learns of the hook.
        setattr(owner, name, self.function)
        attach(owner, (self,))


class before_perform(Hook):
    """Run ``function`` before the job, in the order of declaration."""


class after_perform(Hook):
    """Run ``function`` after the job has returned, in reverse order of declaration."""


class around_perform(Hook):
    """Run the generator ``function`` around the job: what is before its ``yield``, the job, what is after it."""


class after_discard(Hook):
    """Call ``function(job, error)`` when the job is given up: failed, discarded or out of attempts."""


def attach(target: object, policies: Iterable[Policy]) -> None:
    """Add ``policies`` to what ``target`` itself declares; the same error class twice is a ConfigurationError."""
    declared = own(target)
    for policy in policies:
        if not isinstance(policy, Policy):
            raise ConfigurationError(
                f"{policy!r} is not a policy: retry_on(...), discard_on(...), guard(...) and the like are"
            )
        _refuse_twice(target, declared, policy)
        declared = (*declared, policy)
    target.__policies__ = declared  # type: ignore[attr-defined]  # any class, function or job function takes it


def own(target: object) -> tuple[Policy, ...]:
    """What ``target`` itself declares, without what it inherits."""
    return tuple(getattr(target, "__dict__", {}).get("__policies__", ()))


def nearest(levels: Sequence[Sequence[Policy]], error: BaseException) -> ErrorPolicy | None:
    """The declaration that answers for ``error``: the nearest class in its MRO, then the subclass before the base.

    ``levels`` are the declarations from the subclass upwards. If nothing matches the error, its causes are tried.
    """
    for candidate in _with_causes(error):
        found: tuple[int, ErrorPolicy] | None = None
        for level in levels:
            for policy in level:
                if isinstance(policy, ErrorPolicy):
                    distance = policy.distance(candidate)
                    if distance is not None and (found is None or distance < found[0]):
                        found = (distance, policy)
        if found is not None:
            return found[1]
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _refuse_twice(target: object, declared: Sequence[Policy], policy: Policy) -> None:
    if isinstance(policy, ErrorPolicy):
        for other in declared:
            if isinstance(other, ErrorPolicy):
                for error in set(policy.errors) & set(other.errors):
                    name = getattr(target, "__qualname__", None) or getattr(target, "name", target)
                    raise ConfigurationError(
                        f"{name} declares {_matcher_name(error)} twice, in {type(other).__name__} and in "
                        f"{type(policy).__name__}: which one should win? Keep one"
                    )


def _matcher_name(matcher: Matcher) -> str:
    return f"{matcher.__module__}.{getattr(matcher, '__qualname__', repr(matcher))}"


def _checked_attempts(attempts: int | str) -> int | None:
    if attempts == UNLIMITED:
        return None
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ConfigurationError(f"retry_on(attempts={attempts!r}): a number from 1 on, or 'unlimited', is wanted")
    return attempts


def _checked_wait(wait: Wait) -> float | str | tuple[float, ...] | Callable[..., Any]:
    if isinstance(wait, str):
        if wait not in ("polynomially_longer", "exponentially_longer"):
            raise ConfigurationError(
                f"retry_on(wait={wait!r}): 'polynomially_longer' or 'exponentially_longer' is wanted"
            )
        return wait
    if isinstance(wait, list | tuple):
        if not wait:
            raise ConfigurationError("retry_on(wait=[]): the list of waits is empty")
        return tuple(_seconds(_checked_seconds(each)) for each in wait)
    if callable(wait):
        return wait
    return _seconds(_checked_seconds(wait))


def _checked_seconds(wait: object) -> float | timedelta:
    if isinstance(wait, timedelta):
        return wait
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        raise ConfigurationError(
            f"retry_on(wait={wait!r}): seconds, a timedelta, 'polynomially_longer', 'exponentially_longer', "
            f"a list or a callable is wanted"
        )
    return wait


def _seconds(wait: float | timedelta | None) -> float:
    if wait is None:
        return 0.0
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def _call_wait(
    wait: Callable[..., float | timedelta | None], executions: int, error: BaseException
) -> float | timedelta | None:
    return wait(executions, error) if required_positionals(wait) > 1 else wait(executions)


def required_positionals(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` insists on."""
    parameters = inspect.signature(function).parameters.values()
    return sum(
        1
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )
