"""An endpoint for those who restart what is dead and send no work to what is not ready: ``/live`` and ``/ready``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

import msgspec

from tenantjobs.errors import ConfigurationError

logger = logging.getLogger("tenantjobs.db")

LIVE = 60.0  # seconds that the loop of a process may take for one turn


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``live``: its loop turns. ``ready``: it does its work, and so do its processes; ``reason`` says why not."""

    live: bool
    ready: bool
    reason: str | None = None


@contextmanager
def served(address: tuple[str, int] | None, look: Callable[[], Health]) -> Iterator[None]:
    """Answer while the block runs; ``ConfigurationError`` if the port is taken. Without an address, do nothing."""
    if address is None:
        yield
        return
    # The server of the standard library brings megabytes that a worker without it does not pay for.
    answering = import_module("tenantjobs_db.answering")
    try:
        server = answering.server(address, look)
    except OSError as error:
        host, port = address
        raise ConfigurationError(f"--health {host}:{port} cannot be listened to: {error}") from error
    thread = threading.Thread(target=server.serve_forever, name="tenantjobs-health", daemon=True)
    thread.start()
    logger.info("health at http://%s:%d/live and /ready", *server.server_address[:2])
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
