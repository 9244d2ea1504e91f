"""Which errors of a job are retried, discarded or taken by a handler, and which declaration answers for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import isfunction
from typing import Any, TypeVar

from tenantjobs.errors import ConfigurationError, EnvelopeError
from tenantjobs.options import check_options
from tenantjobs.parameters import is_async, positionals
from tenantjobs.policies import Policy, attach
from tenantjobs.waits import Delay, Wait

T = TypeVar("T")

Matcher = type[BaseException] | Callable[[BaseException], bool]

UNLIMITED = "unlimited"


class ErrorPolicy(Policy):
    """A policy that answers for some errors: classes, or predicates on the error.

    ``then`` is called with ``(job, error)``, or with ``(error)``: the job is the object of a ``Job`` class, and the
    ``JobContext`` of a function or a method.
    """

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None, report: bool = False) -> None:
        self.errors = errors
        self.then = then
        self.report = report
        verb = type(self).__name__
        handler: object = then
        if handler is not None and not (callable(handler) and positionals(handler)):
            raise ConfigurationError(f"{verb}(then={then!r}): it is called with (job, error), or with (error)")
        if not errors:
            raise ConfigurationError(f"{verb}() names no error: say which ones, as in {verb}(ConnectionError)")
        for error in errors:
            _check_matcher(verb, error)

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

    def check_on(self, target: str, declared: Iterable[Policy]) -> None:
        """The same error twice on one target is a ConfigurationError: which one should win?"""
        verb = type(self).__name__
        if len(set(self.errors)) < len(self.errors):
            raise ConfigurationError(f"{target} declares one error twice in {verb}: name it once")
        for other in declared:
            if isinstance(other, ErrorPolicy):
                for error in set(self.errors) & set(other.errors):
                    raise ConfigurationError(
                        f"{target} declares {_matcher_name(error)} twice, in {type(other).__name__} and in "
                        f"{verb}: which one should win? Keep one"
                    )


class retry_on(ErrorPolicy):
    """Perform the job again when it raises one of ``errors``.

    ``attempts`` counts the first run; ``"unlimited"`` never stops. ``wait`` is seconds, a timedelta,
    ``"polynomially_longer"`` (3, 18, 83, 258 ... seconds), ``"exponentially_longer"`` (3, 6, 12 ...), a list (its last
    value stays), or a callable of ``(executions)`` or ``(executions, error)`` whose None means at once. ``jitter``
    is the share of a constant or polynomial wait that is added at random at most. ``then(job, error)`` is called
    instead of failing the job when the attempts are used up. ``queue`` and ``priority`` apply to the retries.
    ``report=True`` tells the error reporters of each error that is retried. Attempts are counted for each declaration,
    under ``key``; by default that is the names of its errors, in any order.
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
        report: bool = False,
        then: Callable[..., object] | None = None,
    ) -> None:
        super().__init__(*errors, then=then, report=report)
        check_options(queue, priority)
        self.attempts = _checked_attempts(attempts)
        self.queue = queue
        self.priority = priority
        self._delay = Delay(wait, jitter)
        # The counter of a job in flight is found by this text: it must not depend on declaration order or place.
        self.key = key or "+".join(sorted({_matcher_name(error) for error in errors}))

    def exhausted(self, executions: int) -> bool:
        return self.attempts is not None and executions >= self.attempts

    def delay(self, executions: int, error: BaseException) -> float:
        """Seconds until the next attempt, after ``executions`` of them."""
        return self._delay.seconds(executions, error)

    def check_on(self, target: str, declared: Iterable[Policy]) -> None:
        declared = tuple(declared)
        super().check_on(target, declared)
        if any(isinstance(other, retry_on) and other.key == self.key for other in declared):
            raise ConfigurationError(
                f"{target} has two retry_on that count under the same key {self.key!r}: give one of them key='...'"
            )


class discard_on(ErrorPolicy):
    """Give the job up, without failing it, when it raises one of ``errors``; ``then(job, error)`` is called first.

    ``report=True`` tells the error reporters before that.
    """

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None = None, report: bool = False) -> None:
        super().__init__(*errors, then=then, report=report)


class rescue_from(ErrorPolicy):
    """Let a handler answer for ``errors``: the job is finished with what it returns, and failed by what it raises.

    As a decorator it makes a method of a ``Job`` class the handler: ``(self, error)``. On a function or a model's
    method it is declared with ``then``. A handler may ask for another attempt: ``current_job().retry(wait=5)``.
    """

    def __init__(self, *errors: Matcher, then: Callable[..., object] | None = None) -> None:
        super().__init__(*errors, then=then)

    def __call__(self, target: T, /) -> T:
        if self.then is not None:
            return super().__call__(target)
        if not isfunction(target) or hasattr(target, "__attach_to__"):
            raise ConfigurationError(
                f"rescue_from on {target!r:.120} has no handler: write rescue_from(..., then=handler), or decorate a "
                f"method of a Job class with it"
            )
        bound: Any = _RescueBy(self.errors, target)
        return bound  # type: ignore[no-any-return]  # the class gets the method back as it was

    def check_on(self, target: str, declared: Iterable[Policy]) -> None:
        if self.then is None:
            raise ConfigurationError(f"{target} declares rescue_from without a handler: write rescue_from(..., then=)")
        super().check_on(target, declared)


class _RescueBy(rescue_from):
    """A method as the handler, bound by its name: what a subclass overrides is what answers."""

    def __init__(self, errors: Sequence[Matcher], method: Callable[..., object]) -> None:
        super().__init__(*errors, then=method)
        self._method = method

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self._method)
        self.then = lambda job, error, /: getattr(job, name)(error)
        attach(owner, (self,))


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


def _check_matcher(verb: str, error: object) -> None:
    if isinstance(error, type) and issubclass(error, EnvelopeError):
        raise ConfigurationError(
            f"{verb}({error.__name__}): an unreadable envelope is quarantined before any handler; leave it out"
        )
    if not callable(error) or (isinstance(error, type) and not issubclass(error, BaseException)):
        raise ConfigurationError(f"{verb}({error!r}): an error class or a predicate on the error is wanted")
    if is_async(error):
        raise ConfigurationError(f"{verb}({error!r}): nobody awaits a predicate; declare it with `def`")


def _matcher_name(matcher: Matcher) -> str:
    # Stable over processes: neither an address nor a position may be in it. A partial counts as its function.
    named: Any = getattr(matcher, "func", matcher)
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{named.__module__}.{named.__qualname__}"


def _checked_attempts(attempts: int | str) -> int | None:
    if attempts == UNLIMITED:
        return None
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ConfigurationError(f"retry_on(attempts={attempts!r}): a number from 1 on, or 'unlimited', is wanted")
    return attempts
