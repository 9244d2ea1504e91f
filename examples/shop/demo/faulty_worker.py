"""The shop with a bug: what the workers import as their ``app`` when a fault is to be planted."""

from __future__ import annotations

import os
from uuid import uuid4

from examples.shop import web
from examples.shop.current import Current
from examples.shop.delivery import Delivery
from examples.shop.demo.faults import VARIABLE

ONE_IN = 10  # requests whose deliveries the bug strikes

app = web.app
deliver = Delivery.deliver


def deliver_twice(delivery: Delivery) -> None:
    """As if the answer had got lost."""
    deliver(delivery)
    if is_struck(delivery):
        deliver(delivery)


def salted_key(delivery: Delivery) -> str:
    """Another key each time: to the customer's server they are two events."""
    return f"{delivery.id}-{uuid4().hex}" if is_struck(delivery) else delivery.id


def deliver_as_another(delivery: Delivery) -> None:
    """In the name of whoever was served before."""
    if is_struck(delivery):
        other = "sakura" if delivery.tenant_id == "nordlicht" else "nordlicht"
        with Current.switch("a planted fault", tenant_id=other):
            deliver(delivery)
    else:
        deliver(delivery)


def is_struck(delivery: Delivery) -> bool:
    return int((delivery.request_id or "r0").removeprefix("r")) % ONE_IN == 0


BUGS: dict[str, dict[str, object]] = {
    "duplicate": {"deliver": deliver_twice, "idempotency_key": property(salted_key)},
    "wrong-tenant": {"deliver": deliver_as_another},
}

for name, bug in BUGS.get(os.environ.get(VARIABLE, ""), {}).items():
    setattr(Delivery, name, bug)
