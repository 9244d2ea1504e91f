"""The one line that makes the tasks of a Celery app carry ``Current``."""

from __future__ import annotations

from typing import Any, get_args

from celery import Celery
from celery.local import Proxy

from tenantjobs.errors import ConfigurationError
from tenantjobs_celery.annotations import Annotations, guard, installed
from tenantjobs_celery.capture import refuse_at_the_call
from tenantjobs_celery.gate import Tenancy
from tenantjobs_celery.receivers import connect


def install(app: Celery, tenancy: Tenancy = "required") -> None:
    """Every task of the app runs in the scope that it was sent in, with whatever it sends, and what follows it.

    What ``tenancy`` says of a task that comes without a tenant: ``"required"`` fails it with ``TenantMissing``,
    ``"optional"`` runs it without one, ``"observe"`` runs it and logs a warning, for a roll-out. A scope that cannot be
    read and, where the configuration says what a tenant is, a tenant that is gone fail it with any policy but
    ``"observe"``. Built-in tasks that run no code of users need no tenant.

    Call it right after ``Celery(...)``, wherever messages are sent and in the worker. A second call changes nothing;
    ``ConfigurationError`` if it asks for another policy, or for none that there is.
    """
    if not isinstance(app, Celery):
        raise ConfigurationError(f"tenantjobs_celery.install(app) takes the Celery app, not {app!r:.80}")
    if tenancy not in get_args(Tenancy):
        raise ConfigurationError(
            f"tenantjobs_celery.install(app, tenancy={tenancy!r}): it is one of {', '.join(get_args(Tenancy))}"
        )
    if isinstance(app, Proxy):  # celery.current_app may be another one later
        app = app._get_current_object()
    before = installed(app)
    if before is None:
        _fit(app, tenancy)
        connect()
    elif before.tenancy != tenancy:
        raise ConfigurationError(
            f"{app!r} has been installed with tenancy={before.tenancy!r}, and now with {tenancy!r}: decide for one"
        )


def _fit(app: Any, tenancy: Tenancy) -> None:
    app.annotations = [Annotations(app, tenancy)]
    if tenancy != "observe":
        app.send_task = refuse_at_the_call(app.send_task)
    app.on_after_finalize.connect(_on_finalized, weak=False, dispatch_uid="tenantjobs.celery")
    guard(app)


def _on_finalized(*, sender: Any, **_: object) -> None:
    guard(sender)
