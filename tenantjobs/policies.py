"""What is declared about a job, and where it is kept.

A policy is an object that decorates: it keeps the type of a class, a job function or a method, in any
stacking order, and can be gathered in ``policies=[...]`` or on a mixin class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from tenantjobs.errors import ConfigurationError

T = TypeVar("T")


class Policy:
    """Something declared about a job; decorating with it attaches it and returns the target as it was."""

    def __call__(self, target: T, /) -> T:
        # What is stacked is read from above, and applied from below.
        attach(target, (self,), first=True)
        return target

    def check_on(self, target: str, declared: Iterable[Policy]) -> None:
        """ConfigurationError if it cannot be declared on ``target`` beside what is ``declared`` there."""


def attach(target: object, policies: Iterable[Policy], *, first: bool = False) -> None:
    """Add ``policies`` to what ``target`` itself declares, behind it or before it; ConfigurationError if they clash."""
    target = getattr(target, "__attach_to__", target)
    declared = own(target)
    for policy in listed(policies, target):
        if not isinstance(policy, Policy):
            raise ConfigurationError(
                f"{policy!r} is not a policy: retry_on(...), discard_on(...), guard(...) and the like are"
            )
        policy.check_on(getattr(target, "__qualname__", None) or repr(target), declared)
        declared = (policy, *declared) if first else (*declared, policy)
    target.__policies__ = declared  # type: ignore[attr-defined]  # any class, function or job function takes it


def listed(policies: object, target: object) -> tuple[Any, ...]:
    """``policies`` as a tuple; ``ConfigurationError`` that shows the list to write if it is a single one, or none."""
    if isinstance(policies, Iterable) and not isinstance(policies, str | bytes | type):
        return tuple(policies)
    name = getattr(target, "__qualname__", None) or repr(target)
    if isinstance(policies, Policy):
        kind = type(policies).__name__
        raise ConfigurationError(
            f"{name}: policies= is a list, and {kind}(...) is one policy: write policies=[{kind}(...)]"
        )
    raise ConfigurationError(
        f"{name}: policies={policies!r:.80}: a list of policies is wanted, as in policies=[retry_on(...)]"
    )


def own(target: object) -> tuple[Policy, ...]:
    """What ``target`` itself declares, without what it inherits."""
    target = getattr(target, "__attach_to__", target)
    return tuple(getattr(target, "__dict__", {}).get("__policies__", ()))
