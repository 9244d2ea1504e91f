"""What ``ps`` shows of a process, where setproctitle is installed (``pip install "tenantjobs[processes]"``)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec


def entitle(*words: str) -> None:
    """``tenantjobs worker critical,default``."""
    if find_spec("setproctitle") is not None:
        import_module("setproctitle").setproctitle(" ".join(("tenantjobs", *words)))
