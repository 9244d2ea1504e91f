"""The one line that makes the actors of a broker carry ``Current``."""

from __future__ import annotations

from typing import get_args

from dramatiq import Broker

from tenantjobs.carriage import Tenancy
from tenantjobs.errors import ConfigurationError
from tenantjobs_dramatiq.middleware import TenantMiddleware
from tenantjobs_dramatiq.publishing import carrying


def install(broker: Broker, tenancy: Tenancy = "required", after_commit: bool = False) -> None:
    """Every actor of the broker runs in the scope that its message was sent in, with whatever follows it.

    What ``tenancy`` says of a message that comes without a tenant: ``"required"`` fails it with ``TenantRefused``,
    ``"optional"`` runs it without one, ``"observe"`` runs it and logs a warning, for a roll-out. A scope that cannot be
    read and, where the configuration says what a tenant is, a tenant that is gone fail it with any policy but
    ``"observe"``. With ``after_commit`` a message leaves when the open transaction has committed, and a rollback drops
    it; retries do not wait.

    Call it right after the broker is made, wherever messages are sent and in the worker; what is added later with
    ``before=`` runs without a tenant. A second call changes nothing; ``ConfigurationError`` if it asks for something
    else, or for a policy that there is not.
    """
    if not isinstance(broker, Broker):
        raise ConfigurationError(f"tenantjobs_dramatiq.install(broker) takes a Dramatiq broker, not {broker!r:.80}")
    if tenancy not in get_args(Tenancy):
        raise ConfigurationError(
            f"tenantjobs_dramatiq.install(broker, tenancy={tenancy!r}): it is one of {', '.join(get_args(Tenancy))}"
        )
    wanted = (tenancy, bool(after_commit))
    for middleware in broker.middleware:
        if isinstance(middleware, TenantMiddleware):
            if middleware.declared != wanted:
                raise ConfigurationError(
                    f"{broker!r} has been installed with tenancy, after_commit = {middleware.declared!r}, and now with "
                    f"{wanted!r}: decide for one"
                )
            return
    # First in the list is outermost: what follows a message is sent by the hooks after it, which run in reverse.
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(TenantMiddleware(tenancy, bool(after_commit)), before=first)
    # No hook may replace a message, or put off sending it.
    broker.enqueue = carrying(broker.enqueue, tenancy, bool(after_commit))  # type: ignore[method-assign]
