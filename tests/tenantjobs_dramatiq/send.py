"""``WAY COUNT``: sends that way, for the tenant ``acme``, and when so many have been noted, sends the end."""

from __future__ import annotations

import sys
import time

from tenantjobs.current import Current
from tests.tenantjobs_dramatiq import shop

SENDERS = {
    "send": lambda: shop.note.send("send"),
    "delay": lambda: shop.note.send_with_options(args=("delay",), delay=50),
    "retry": lambda: shop.flaky.send(),
    "pipeline": lambda: (
        shop.note.message("one") | shop.note.message_with_options(args=("two",), pipe_ignore=True)
    ).run(),
}

if __name__ == "__main__":
    shop.note.send("nobody")  # it has no tenant: it never runs
    with Current.set(tenant_id="acme"):
        SENDERS[sys.argv[1]]()
        while shop.store.llen(f"{shop.QUEUE}:notes") < int(sys.argv[2]):  # type: ignore[operator]  # not awaitable
            time.sleep(0.02)
        shop.note.send("end")
