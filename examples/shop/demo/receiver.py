"""The customers' own servers, all in one process: ``python -m examples.shop.demo.receiver FD ARRIVALS``.

They know nothing of the shop but what each customer was told when it subscribed: its own secret. Whose secret it must
be is decided by the address that was called, never by what the request says about itself. Every arrival is written
down before it is answered.
"""

from __future__ import annotations

import hmac
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from examples.shop.demo.customers import Server, read_servers
from examples.shop.demo.serve import serve


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came, and what became of it; ``answer`` is None where there was never one."""

    at: float
    path: str
    headers: dict[str, str]
    body: str
    verified: bool
    effect: bool
    answer: int | None

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(self.body)
        return message

    @property
    def delivery(self) -> str:
        return str(self.message["id"])


class Receiver:
    """Lets each idempotency key of an address have its effect once."""

    def __init__(self, servers: Iterable[Server], arrivals: Path) -> None:
        self._servers = {server.path: server for server in servers}
        self._arrivals = arrivals.open("ab")
        self._so_far: Counter[str] = Counter()
        self._applied: set[tuple[str, str]] = set()

    async def receive(self, request: Request) -> Response:
        arrival = self._judge(request.url.path, dict(request.headers), await request.body())
        self._arrivals.write(msgspec.json.encode(arrival) + b"\n")
        self._arrivals.flush()
        if arrival.answer is None:
            await request.receive()  # comes when the other side has hung up
        return Response(status_code=arrival.answer or 504)

    def _judge(self, path: str, headers: dict[str, str], body: bytes) -> Arrival:
        server, key = self._servers[path], (path, headers["idempotency-key"])
        signature = hmac.digest(server.secret.encode(), body, "sha256").hex()
        verified = hmac.compare_digest(signature, headers["x-shop-signature"])
        answer = self._answer(server) if verified else 401
        effect = answer == 200 and key not in self._applied
        if effect:
            self._applied.add(key)
        return Arrival(
            at=time.time(),
            path=path,
            headers=headers,
            body=body.decode(),
            verified=verified,
            effect=effect,
            answer=answer,
        )

    def _answer(self, server: Server) -> int | None:
        self._so_far[server.path] += 1
        if server.manners == "down" and self._so_far[server.path] <= server.outage:
            return 500
        elif server.manners == "silent":
            return None
        elif server.manners == "gone":
            return 410
        else:
            return 200


def main(descriptor: str, arrivals: str) -> None:
    receiver = Receiver(read_servers(), Path(arrivals))
    serve(Starlette(routes=[Route("/{account}/{number}", receiver.receive, methods=["POST"])]), int(descriptor))


if __name__ == "__main__":
    main(*sys.argv[1:])
