"""How every task of an app gets its gate: after the user's own ``task_annotations``, when the task is bound."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from inspect import getattr_static
from typing import Any

from celery.app.annotations import prepare, resolve_all
from celery.app.trace import build_tracer

from tenantjobs_celery.deferral import Replacing
from tenantjobs_celery.delivery import TRACER, WRAPPER, Applied, Traced
from tenantjobs_celery.gate import Gate
from tenantjobs_celery.policy import Policy
from tenantjobs_celery.request import CoveredRequest


class Annotations:
    """Takes the place of the app's annotations. The user's are read when the first task is bound, as Celery does."""

    def __init__(self, app: Any, policy: Policy) -> None:
        self.app = app
        self.policy = policy

    def annotate(self, task: type) -> TaskAnnotation:
        return TaskAnnotation(task, self)

    @cached_property
    def of_user(self) -> Any:
        return prepare(self.app.conf.task_annotations)


class TaskAnnotation:
    """What Celery sets on one task class, pair by pair."""

    def __init__(self, task: type, annotations: Annotations) -> None:
        self.task = task
        self.annotations = annotations

    def items(self) -> Iterator[tuple[str, object]]:
        for found in resolve_all(self.annotations.of_user, self.task):
            yield from found.items()
        # Celery sets each pair before it asks for the next one, so that the user's are all there by now.
        yield from _guards(self.task, self.annotations.policy)


def installed(app: Any) -> Annotations | None:
    """What ``install`` put into the app, if it did."""
    found = vars(app).get("annotations")
    first = found[0] if found else None
    return first if isinstance(first, Annotations) else None


def guard(app: Any) -> None:
    """Give every task that is bound already its gate.

    Among them those that Celery does not annotate: subclasses of a task that was bound before them.
    """
    annotations = installed(app)
    if annotations is not None:
        for task in list(app._tasks.values()):
            if type(task).__bound__:
                _guard(task, annotations)


def _guard(task: Any, annotations: Annotations) -> None:
    traced = task.__trace__ is not None
    pairs = list(_guards(type(task), annotations.policy))
    for name, value in pairs:
        setattr(type(task), name, value)
    if pairs and traced:  # by what was made of what was there before
        task.__trace__ = build_tracer(task.name, task, annotations.app.loader, app=annotations.app)


def _guards(task: type, policy: Policy) -> Iterator[tuple[str, object]]:
    """What such a class lacks. Subclasses have what their bases have, unless they have it from the user."""
    if task.name == WRAPPER:  # type: ignore[attr-defined]  # a task class, which has no types
        return
    if not hasattr(task, TRACER):
        yield TRACER, None
    for name, kind, make in (
        ("__trace__", Traced, lambda _: Traced()),
        ("apply", Applied, Applied),
        ("before_start", Gate, lambda original: Gate(original, policy.tenancy)),
        ("Request", CoveredRequest, CoveredRequest),
        *([("on_replace", Replacing, Replacing)] if policy.after_commit else ()),
    ):
        found = getattr_static(task, name)
        if not isinstance(found, kind):
            yield name, make(found)
