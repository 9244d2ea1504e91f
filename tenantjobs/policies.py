"""What is declared about a job: which errors are retried or discarded, what runs around it, when it is skipped.

A policy is an object that decorates: it keeps the type of a class, a job function or a method, in any
stacking order, and can be gathered in ``policies=[...]`` or on a mixin class.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar

from tenantjobs.errors import ConfigurationError, EnvelopeError

T = TypeVar("T")

Matcher = type[BaseException] | Callable[[BaseException], bool]
Growing = Literal["polynomially_longer", "exponentially_longer"]
Wait = float | timedelta | Growing | Sequence[float | timedelta] | Callable[..., "float | timedelta | None"]

UNLIMITED = "unlimited"
LONGEST = 10 * 365 * 86_400.0  # seconds; a wait that grows without end stays a moment that a database can store
PRIORITIES = range(-(2**31), 2**31)


class Policy:
    """Something declared about a job; decorating with it attaches it and returns the target as it was."""

    def __call__(self, target: T, /) -> T:
        attach(target, (self,))
        return target


class ErrorPolicy(Policy):
    """A policy that answers for some errors: classes, or predicates on the error."""

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None) -> None:
        self.errors = errors
        given: tuple[object, ...] = errors  # whatever they were declared as, they are looked at
        self.then = then
        verb = type(self).__name__
        handler: object = then
        if handler is not None and not (callable(handler) and positionals(handler)):
            raise ConfigurationError(f"{verb}(then={then!r}): it is called with (job, error), or with (error)")
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
        key: str | None = None,
        then: Callable[..., object] | None = None,
    ) -> None:
        super().__init__(*errors, then=then)
        check_options(queue, priority)
        self.wait = _checked_wait(wait)
        self.attempts = _checked_attempts(attempts)
        self.jitter = _checked_share(jitter)
        self.queue = queue
        self.priority = priority
        # The counter of a job in flight is found by this text: it must not depend on declaration order or place.
        self.key = key or "+".join(sorted({_matcher_name(error) for error in errors}))

    def exhausted(self, executions: int) -> bool:
        return self.attempts is not None and executions >= self.attempts

    def delay(self, executions: int, error: BaseException) -> float:
        """Seconds until the next attempt, after ``executions`` of them."""
        return min(self._delay(executions, error), LONGEST)

    def _delay(self, executions: int, error: BaseException) -> float:
        wait = self.wait
        if callable(wait):
            return _result_of_wait(wait, executions, error)
        if isinstance(wait, str):
            if wait == "exponentially_longer":
                return 3.0 * 2.0 ** min(executions - 1, 64)
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

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None = None) -> None:
        super().__init__(*errors, then=then)


class Hook(Policy):
    """A function that runs around a job, with the parameters of what it decorates.

    As a decorator on a method of a ``Job`` class it leaves the method a method, and is bound by its name: what a
    subclass overrides is what runs.
    """

    name: str | None = None

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise ConfigurationError(f"{type(self).__name__}({function!r}): a callable is wanted")
        self.function = function

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.function)
        self.name = name
        self.function = lambda job, /, *args, **kwargs: getattr(job, name)(*args, **kwargs)
        attach(owner, (self,))


class guard(Hook):
    """Perform only if ``function`` says so for the loaded arguments; otherwise the job is skipped, and says so.

    It takes the parameters of what it decorates: a function its arguments, a method its record first, a ``Job`` class
    the job first.
    """


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
    target = getattr(target, "__attach_to__", target)
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
    target = getattr(target, "__attach_to__", target)
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
    if not isinstance(policy, ErrorPolicy):
        return
    name = getattr(target, "__qualname__", None) or repr(target)
    if len(set(policy.errors)) < len(policy.errors):
        raise ConfigurationError(f"{name} declares one error twice in {type(policy).__name__}: name it once")
    for other in declared:
        if not isinstance(other, ErrorPolicy):
            continue
        for error in set(policy.errors) & set(other.errors):
            raise ConfigurationError(
                f"{name} declares {_matcher_name(error)} twice, in {type(other).__name__} and in "
                f"{type(policy).__name__}: which one should win? Keep one"
            )
        if isinstance(policy, retry_on) and isinstance(other, retry_on) and policy.key == other.key:
            raise ConfigurationError(
                f"{name} has two retry_on that count under the same key {policy.key!r}: give one of them key='...'"
            )


def _matcher_name(matcher: Matcher) -> str:
    # Stable over processes: neither an address nor a position may be in it. A partial counts as its function.
    named: Any = getattr(matcher, "func", matcher)
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{named.__module__}.{named.__qualname__}"


def check_options(queue: object, priority: object) -> None:
    """ConfigurationError for a queue or a priority that no queue could store. None is left to the job."""
    if queue is not None and not (isinstance(queue, str) and queue and _is_text(queue)):
        raise ConfigurationError(f"queue={queue!r}: a queue's name is a text that is not empty")
    # A range is asked for numbers only: it would look for anything else one by one.
    if priority is not None and not (type(priority) is int and priority in PRIORITIES):
        raise ConfigurationError(f"priority={priority!r}: a whole number of 32 bits is wanted; lower runs sooner")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


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
        if not 1 <= positionals(wait) <= 3 or required_positionals(wait) > 2:
            raise ConfigurationError(f"retry_on(wait={wait!r}): it is called with (executions) or (executions, error)")
        return wait
    return _seconds(_checked_seconds(wait))


def _checked_seconds(wait: object) -> float | timedelta:
    if isinstance(wait, timedelta) and wait >= timedelta(0):
        return wait
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not math.isfinite(wait) or wait < 0:
        raise ConfigurationError(
            f"retry_on(wait={wait!r}): seconds from 0 on, a timedelta, 'polynomially_longer', 'exponentially_longer', "
            f"a list or a callable is wanted"
        )
    return wait


def _seconds(wait: float | timedelta | None) -> float:
    if wait is None:
        return 0.0
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def _checked_share(jitter: object) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise ConfigurationError(f"retry_on(jitter={jitter!r}): a share from 0 to 1 is wanted")
    return float(jitter)


def _result_of_wait(wait: Callable[..., float | timedelta | None], executions: int, error: BaseException) -> float:
    result = wait(executions, error) if required_positionals(wait) > 1 else wait(executions)
    return _seconds(None if result is None else _checked_seconds(result))


def required_positionals(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` insists on."""
    return sum(1 for parameter in _positional(function) if parameter.default is parameter.empty)


def positionals(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` takes at most; a handful if it takes any number, or does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins do not say
        return 3
    return 3 if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(_positional(function))


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    return [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
