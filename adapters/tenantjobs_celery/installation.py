"""The one line that makes the tasks of a Celery app carry ``Current``."""

from __future__ import annotations

from typing import Any, get_args

from celery import Celery
from celery.local import Proxy
from celery.signals import worker_init

from tenantjobs.carriage import Tenancy
from tenantjobs.errors import ConfigurationError
from tenantjobs_celery import entries, publishing
from tenantjobs_celery.annotations import Annotations, guard, installed
from tenantjobs_celery.policy import Policy


def install(app: Celery, tenancy: Tenancy = "required", after_commit: bool = False) -> None:
    """Every task of the app runs in the scope that it was sent in, with whatever it sends, and what follows it.

    What ``tenancy`` says of a task that comes without a tenant: ``"required"`` fails it with ``TenantMissing``,
    ``"optional"`` runs it without one, ``"observe"`` runs it and logs a warning, for a roll-out. A scope that cannot be
    read and, where the configuration says what a tenant is, a tenant that is gone fail it with any policy but
    ``"observe"``. Built-in tasks that run no code of users need no tenant. With ``after_commit`` a message leaves when
    the open transaction has committed, and a rollback drops it; retries and replacements of the running task, and
    eager tasks, do not wait.

    Call it right after ``Celery(...)``, wherever messages are sent and in the worker. A second call changes nothing;
    ``ConfigurationError`` if it asks for something else, or for a policy that there is not.
    """
    if not isinstance(app, Celery):
        raise ConfigurationError(f"tenantjobs_celery.install(app) takes the Celery app, not {app!r:.80}")
    if tenancy not in get_args(Tenancy):
        raise ConfigurationError(
            f"tenantjobs_celery.install(app, tenancy={tenancy!r}): it is one of {', '.join(get_args(Tenancy))}"
        )
    if isinstance(app, Proxy):  # celery.current_app may be another one later
        app = app._get_current_object()
    before, wanted = installed(app), Policy(tenancy, bool(after_commit))
    if before is None:
        _fit(app, wanted)
    elif before.policy != wanted:
        raise ConfigurationError(
            f"{app!r} has been installed with {before.policy}, and now with {wanted}: decide for one"
        )


def _fit(app: Any, policy: Policy) -> None:
    app.annotations = [Annotations(app, policy)]
    publishing.cover(app, policy)
    entries.cover(app)
    app.on_after_finalize.connect(_on_finalized, weak=False, dispatch_uid="tenantjobs.celery")
    worker_init.connect(_on_worker, weak=False, dispatch_uid="tenantjobs.celery")
    guard(app)


def _on_finalized(*, sender: Any, **_: object) -> None:
    guard(sender)


def _on_worker(*, sender: Any, **_: object) -> None:
    """Once for all apps: a worker starts, and whatever it imports has made its tasks."""
    guard(sender.app)
