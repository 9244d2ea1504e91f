"""What runs around a job: before, after and around it, where it is enqueued and where it is performed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import isasyncgenfunction, isfunction
from typing import Any, TypeVar

from tenantjobs.errors import ConfigurationError
from tenantjobs.parameters import is_async
from tenantjobs.policies import Policy, attach

T = TypeVar("T")


class Hook(Policy):
    """A function that runs around a job, with the parameters of what it decorates.

    As a decorator on a method of a ``Job`` class it leaves the method a method, and is bound by its name: what a
    subclass overrides is what runs. It runs where the condition ``if_`` holds, and ``unless`` does not: callables of
    the same parameters.
    """

    name: str | None = None

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        if_: Callable[..., object] | None = None,
        unless: Callable[..., object] | None = None,
    ) -> None:
        given: dict[str, object] = {"": function, "if_=": if_, "unless=": unless}
        for place, value in given.items():
            if value is not None and not callable(value):
                raise ConfigurationError(f"{type(self).__name__}({place}{value!r}): a callable is wanted")
        self._function = function
        self.if_ = if_
        self.unless = unless

    @property
    def function(self) -> Callable[..., Any]:
        """What runs."""
        assert self._function is not None, "a hook without a function is not attached to anything"
        return self._function

    def __call__(self, target: T, /) -> T:
        if self._function is not None:
            return super().__call__(target)
        # @before_perform(if_=...) over the method that it is about.
        if not isfunction(target) or hasattr(target, "__attach_to__"):
            raise ConfigurationError(f"{type(self).__name__} on {target!r:.120} has no function to run: give it one")
        hook: Any = type(self)(target, if_=self.if_, unless=self.unless)
        return hook  # type: ignore[no-any-return]  # the class gets the method back as it was

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.function)
        self.name = name
        self._function = lambda job, /, *args, **kwargs: getattr(job, name)(*args, **kwargs)
        attach(owner, (self,))

    def check_on(self, target: str, declared: Iterable[Policy]) -> None:
        super().check_on(target, declared)
        if self._function is None:
            raise ConfigurationError(f"{target} declares {type(self).__name__} without a function to run")


class guard(Hook):
    """Perform only if ``function`` says so for the loaded arguments; otherwise the job is skipped, and says so.

    It takes the parameters of what it decorates: a function its arguments, a method its record first, a ``Job`` class
    the job first.
    """


class Before(Hook):
    """Runs before; ``Abort`` ends it there."""


class Around(Hook):
    """A generator: what is before its ``yield``, what it is around, what is after it."""


class After(Hook):
    """Runs after what went well, the last that was declared first."""


class PerformHook(Hook):
    """Of a worker, with the arguments as they were loaded; may be async where the job is."""


class before_perform(Before, PerformHook):
    """Run ``function`` before the job, in the order of declaration. If it raises ``Abort``, the job is skipped."""


class after_perform(After, PerformHook):
    """Run ``function`` after the job has returned, in reverse order of declaration."""


class around_perform(Around, PerformHook):
    """Run the generator ``function`` around the job: what is before its ``yield``, the job, what is after it.

    One that ends without a ``yield`` skips the job.
    """


def never_yielded(error: RuntimeError) -> bool:
    """Whether contextlib raised it of a generator that ended before its ``yield``."""
    # A generator that raises StopIteration has it as the cause of its error; this one, as the context alone.
    return isinstance(error.__context__, (StopIteration, StopAsyncIteration)) and error.__cause__ is None


class EnqueueHook(Hook):
    """Of the caller, with the arguments of the call; it is never awaited.

    It runs for each ``perform_later`` of one job, and neither for ``perform_all_later`` nor for a retry.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        if_: Callable[..., object] | None = None,
        unless: Callable[..., object] | None = None,
    ) -> None:
        super().__init__(function, if_=if_, unless=unless)
        for each in (function, if_, unless):
            if each is not None and (is_async(each) or isasyncgenfunction(each)):
                raise ConfigurationError(
                    f"{type(self).__name__}({each!r}): nobody awaits it where a job is enqueued; declare it with `def`"
                )

    def applies(self, *args: Any, **kwargs: Any) -> bool:
        """Whether its conditions hold."""
        return not (self.if_ and not self.if_(*args, **kwargs)) and not (self.unless and self.unless(*args, **kwargs))


class before_enqueue(Before, EnqueueHook):
    """Run ``function`` before the job is enqueued. If it raises ``Abort``, the job is not: ``handle.enqueued`` is
    False.
    """


class after_enqueue(After, EnqueueHook):
    """Run ``function`` when the queue has the job: in a transaction, after its commit. What it raises is reported."""


class around_enqueue(Around, EnqueueHook):
    """Run the generator ``function`` around handing the job to the queue, or to the open transaction."""


class after_discard(Hook):
    """Call ``function(job, error)`` when the job is given up: failed, discarded or out of attempts.

    All of them run, those of the base class first, even if one raises; the last that was raised fails the job.
    """
