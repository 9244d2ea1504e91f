"""Where the scope of a message counts: from before all other hooks of Dramatiq until after them."""

from __future__ import annotations

import logging
from functools import partial
from threading import get_ident
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import Middleware, MiddlewareError, Retries

from tenantjobs.carriage import KEY, Delivery, Tenancy
from tenantjobs.errors import BadSignature, TenancyError, TenantUnavailable
from tenantjobs.signer import configured
from tenantjobs_dramatiq.performing import NAME
from tenantjobs_dramatiq.sealing import adopt, covered, disown

HOW = (
    "send it inside `with Current.set(tenant=...):`, inside `with Current.system('why'):` if it works for all of them, "
    "and from a scheduler with the options of tenantjobs_dramatiq.options()"
)

logger = logging.getLogger("tenantjobs.dramatiq")


class TenantRefused(TenancyError, MiddlewareError):
    """A message whose actor did not run, for want of its tenant; ``__cause__`` says of what kind.

    Dramatiq logs what a hook raises and runs the actor all the same, unless it is a ``MiddlewareError``.
    """


class TenantMiddleware(Middleware):
    """Puts the scope of its message around each actor, or refuses to run it."""

    def __init__(self, tenancy: Tenancy, after_commit: bool) -> None:
        self.declared = (tenancy, after_commit)
        self._tenancy: Tenancy = tenancy
        # By thread, and greenlet of gevent: each has one message at a time.
        self._deliveries: dict[int, Delivery] = {}

    def before_delay_message(self, broker: Broker, message: Any) -> None:  # noqa: ARG002  # the hook's own signature
        if configured() is not None and message.actor_name != NAME:
            message.options.setdefault(KEY, "")  # what came without a header is sent on as what was not sent by us

    def before_process_message(self, broker: Broker, message: Any) -> None:
        thread = get_ident()
        if thread in self._deliveries:  # a time limit struck in the middle of leaving the message before
            self.after_process_message(broker, message)
        carried = getattr(message, "_message", message)  # through its proxy each attribute costs ten times as much
        if carried.actor_name == NAME:
            return  # it has a door of its own
        named = partial(_named, carried)
        delivery = Delivery.at_once(carried.options.get(KEY), named)
        if delivery is not None:
            self._deliveries[thread] = delivery
            return
        try:
            delivery = Delivery.of(carried.options.get(KEY), named, lambda: covered(carried))
            delivery.__enter__()
            self._deliveries[thread] = delivery
            if delivery.keyed:
                _own(carried.options, delivery)
            delivery.admit(self._tenancy, HOW)
        except Exception as error:
            if self._tenancy == "observe" and not isinstance(error, BadSignature):
                logger.exception("actor %s runs without its scope, because tenancy is 'observe'", message.actor_name)
                return
            if not isinstance(error, TenantUnavailable):
                self._fail(broker, message)
            raise TenantRefused(str(error)) from error

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002  # the hook's own signature
        message: Any,  # noqa: ARG002
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,  # noqa: ARG002
    ) -> None:
        thread = get_ident()
        delivery = self._deliveries.get(thread)
        if delivery is not None:
            delivery.__exit__(None, None, None)  # a second time changes nothing
            del self._deliveries[thread]

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self.after_process_message(broker, message)

    def _fail(self, broker: Broker, message: Any) -> None:
        """To the dead letters at once: another attempt would fail of the same."""
        message.options["max_retries"] = -1  # Dramatiq 1.17 takes 0 for an option that is not set
        if not any(isinstance(each, Retries) for each in broker.middleware):
            message.fail()


def _named(message: Any) -> str:
    return f"actor {message.actor_name}[{message.message_id}]"


def _own(options: dict[str, Any], delivery: Delivery) -> None:
    if delivery.forged is not None:
        disown(options)
    else:
        adopt(options)
