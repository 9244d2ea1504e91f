"""A producer of its own: ``python -m tests.gate.enqueue JOB TENANT COUNT [JOB TENANT COUNT ...]``."""

from __future__ import annotations

import sys

from tenantjobs import Current, perform_all_later, runtime


def main(words: list[str]) -> None:
    runtime.load_app()
    from tests.gate import app

    for name, tenant, count in zip(words[::3], words[1::3], words[2::3], strict=True):
        entry = getattr(app, name)
        with Current.set(tenant_id=tenant):
            perform_all_later([entry.call(*(["noted"] if name == "note" else [])) for _ in range(int(count))])


if __name__ == "__main__":
    main(sys.argv[1:])
