"""A producer of its own: ``python -m tests.swap.enqueue LABEL``. It knows of the swap what its configuration says."""

from __future__ import annotations

import sys
import time

from tenantjobs import Current, runtime

TENANTS = ("acme", "globex")
DELAY = 3.0  # seconds


def main(label: str) -> None:
    runtime.load_app()
    from tests.swap import app

    for tenant in TENANTS:
        with Current.set(tenant_id=tenant):
            app.note.perform_later(f"{label}: now")
            app.not_before.set(wait=DELAY).perform_later(f"{label}: delayed", time.time() + DELAY)
            app.third_time_lucky.perform_later(f"{label}: retried")


if __name__ == "__main__":
    main(*sys.argv[1:])
