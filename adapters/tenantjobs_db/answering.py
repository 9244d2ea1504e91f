"""The server of the health endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from tenantjobs_db.health import Health

logger = logging.getLogger("tenantjobs.db")


def server(address: tuple[str, int], look: Callable[[], Health]) -> ThreadingHTTPServer:
    """It listens; OSError if it cannot."""
    found = ThreadingHTTPServer(address, _handler(look))
    found.daemon_threads = True
    return found


def _handler(look: Callable[[], Health]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            health = look()
            good = {"/live": health.live, "/ready": health.ready}.get(self.path.partition("?")[0].rstrip("/"))
            if good is None:
                self._answer(404, msgspec.json.encode({"error": "there are /live and /ready"}))
            else:
                self._answer(200 if good else 503, msgspec.json.encode(health))

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # as it is called there
            logger.debug(format, *arguments)

    return Handler
