"""``python -m examples.shop.demo.serve FD APP``: an ASGI application on a socket that is already listening.

So nobody has to find a free port and hope that it stays free, and who calls early waits in the socket's queue.
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.types import ASGIApp


def serve(app: ASGIApp | str, descriptor: int) -> None:
    """Serve ``app``, or what is imported by that name, until stopped."""
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=60, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(sys.argv[2], int(sys.argv[1]))
