"""The customers at their keyboards: sends the recorded requests over HTTP, several at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import httpx
import msgspec

from examples.shop.demo.stream import Request

TOGETHER = 6  # requests under way at once
PATIENCE = 30.0  # seconds


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer saw."""

    request: Request
    status: int
    id: int | str | None = None
    deliveries: tuple[str, ...] = ()

    @property
    def rolled_back(self) -> bool:
        return self.status == 413 or self.status >= 500


class Feed:
    """Sends requests in their order; one that needs the answer to another waits for it."""

    def __init__(self, shop: str, servers: str) -> None:
        self._servers = servers
        self._http = httpx.Client(base_url=shop, timeout=PATIENCE)
        self._pool = ThreadPoolExecutor(TOGETHER)
        self._answers: dict[str, Future[Answer]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def start(self, requests: Sequence[Request]) -> None:
        """Send ``requests``; returns at once."""
        for request in requests:
            self._answers[request.id] = self._pool.submit(self._send, request)

    def close(self) -> int:
        """Send no more; how many requests are left out by that."""
        # From the end: what is under way never needs one that is left out.
        return sum(answer.cancel() for answer in reversed(self._answers.values()) if not answer.cancelled())

    @property
    def answered(self) -> int:
        """How many requests have been answered so far."""
        return sum(answer.done() and not answer.cancelled() for answer in self._answers.values())

    @property
    def is_done(self) -> bool:
        """Whether there is an answer to all that was sent and is to be sent."""
        return all(answer.done() for answer in self._answers.values())

    def answers(self) -> list[Answer]:
        """The answers to what was sent; an error if it could not be sent."""
        return [answer.result() for answer in self._answers.values() if not answer.cancelled()]

    def _send(self, request: Request) -> Answer:
        # What is needed was submitted before, and the pool starts in that order: this never waits for ever.
        needed = {id: self._answers[id].result().id for id in request.needs}
        response = self._http.request(
            request.method,
            _filled(request.path, {f"{{{id}}}": str(answer) for id, answer in needed.items()}),
            content=_filled(msgspec.json.encode(request.body).decode(), {"{servers}": self._servers}),
            headers={"Host": f"{request.account}.shop.localhost", "X-Request-Id": request.id},
        )
        told = msgspec.json.decode(response.content) if response.status_code == 201 else {}
        return msgspec.convert({**told, "request": request, "status": response.status_code}, Answer)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
