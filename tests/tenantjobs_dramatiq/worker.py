"""What ``dramatiq`` is pointed at."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

import tenantjobs
from tenantjobs.current import Current
from tests.tenantjobs_dramatiq.shop import Shop, note


class Outermost(Middleware):
    """Looks for what messages leave behind, and says when the worker is there."""

    def before_process_message(self, *_: Any) -> None:
        if Current.scope != "unset":
            note("residue")

    def after_process_message(self, *_: Any, **__: Any) -> None:
        self.before_process_message()

    def after_skip_message(self, *_: Any) -> None:
        self.before_process_message()

    def after_worker_boot(self, *_: Any) -> None:
        note("ready")


def locate_tenant(tenant_id: str) -> str | None:
    if tenant_id == "down":
        raise ConnectionError("no route to the store")
    return None if tenant_id == "gone" else tenant_id


tenantjobs.configure(tenant_locator=locate_tenant)
tenancy: Any = os.environ["SHOP_TENANCY"]
shop = Shop(os.environ["SHOP_NAME"], os.environ["SHOP_KIND"], tenancy=tenancy)
shop.broker.middleware.insert(0, Outermost())
dramatiq.set_broker(shop.broker)
