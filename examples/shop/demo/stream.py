"""The recorded stream of requests, and its generator: ``python -m examples.shop.demo.stream`` records it anew."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, count
from pathlib import Path
from random import Random

import msgspec

from examples.shop.demo import words
from examples.shop.demo.customers import CUSTOMERS, Customer, write_servers

FILE = Path(__file__).parent / "data" / "stream.jsonl.gz"

SEED = 20
LENGTH = 3_000
LARGEST = 0.57  # share of the first customer; the others share the rest as 1, 1/2, 1/3 ...
NEW_CARD = 0.3
TOO_BIG = 0.04  # share of requests whose attachment the shop refuses, after all else is done
LOG_EVERY, LOG_AT = 400, 120  # one request in so many carries a pasted log, from this one on
LOG_SIZES = (100_000, 200_000)  # bytes
BURST = 12  # requests of a customer right before it leaves
LATECOMERS = 2  # requests of a customer after it has left


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of a customer.

    ``{r00042}`` in the path is the id that the answer to that request gave, ``{servers}`` in the body the address
    of the customers' servers. ``needs`` names the requests that must have been answered before, ``answer`` is the
    status that was recorded.
    """

    id: str
    account: str
    method: str
    path: str
    body: Mapping[str, object] = {}
    needs: tuple[str, ...] = ()
    answer: int = 201


def read(length: int | None = None, path: Path = FILE) -> list[Request]:
    """The first ``length`` requests as they are recorded, or all of them."""
    with gzip.open(path, "rb") as lines:
        requests = msgspec.json.Decoder(Request).decode_lines(lines.read())
    return requests[:length]


def deliveries(requests: Sequence[Request]) -> int:
    """How many deliveries come of ``requests``: one for each card and comment that is kept, and each webhook."""
    webhooks = Counter(request.account for request in requests if request.path == "/webhooks")
    kept = [request for request in requests if request.path.startswith("/cards") and request.answer == 201]
    return sum(webhooks[request.account] for request in kept)


def write(path: Path = FILE) -> None:
    """Record what ``generate`` gives, in the same bytes each time."""
    path.write_bytes(gzip.compress(msgspec.json.Encoder().encode_lines(generate()), mtime=0))


def generate() -> list[Request]:
    """The requests of all customers, in the order in which they are sent; the same ones each time."""
    rng = Random(SEED)
    ids = (f"r{number:05d}" for number in count(1))
    accounts = [Account(customer, ids, rng) for customer in CUSTOMERS]
    sent = [request for account in accounts for request in account.opens()]
    sent += [account.works() for account in accounts]
    while len(sent) < LENGTH:
        for account in [account for account in accounts if account.customer.leaves <= len(sent) / LENGTH]:
            accounts.remove(account)
            sent += account.leaves()
        pastes_log = len(sent) % LOG_EVERY == LOG_AT
        sent.append(someone(accounts, rng).works(pastes_log=pastes_log))
    return sent


def someone(accounts: Sequence[Account], rng: Random) -> Account:
    """Whose turn it is: more than every second time the largest customer's."""
    if rng.random() < LARGEST:
        return accounts[0]
    bounds = list(accumulate(1 / rank for rank in range(1, len(accounts))))
    point = rng.random() * bounds[-1]
    return next(account for account, bound in zip(accounts[1:], bounds, strict=True) if point < bound)


class Account:
    """What one customer does, and has done so far."""

    def __init__(self, customer: Customer, ids: Iterator[str], rng: Random) -> None:
        self.customer = customer
        self._ids = ids
        self._rng = rng
        self._opened: tuple[str, ...] = ()
        self._sent: list[str] = []
        self._cards: list[str] = []

    def opens(self) -> Iterator[Request]:
        """The account and its webhooks come first, so that each of them hears of every card."""
        yield self._request("POST", "/account", {"name": self.customer.name, "secret": self.customer.secret})
        for server in self.customer.servers():
            yield self._request("POST", "/webhooks", {"url": "{servers}" + server.path}, needs=(self._sent[0],))
        self._opened = tuple(self._sent)

    def works(self, *, pastes_log: bool = False) -> Request:
        """A new card, or a comment on a recent one."""
        language, attached = self.customer.language, self._attached()
        answer = 413 if attached else 201
        if not self._cards or (not pastes_log and self._rng.random() < NEW_CARD):
            body = {"title": language.title(self._rng), **attached}
            request = self._request("POST", "/cards", body, needs=self._opened, answer=answer)
            if not attached:
                self._cards.append(request.id)
            return request
        card = words.pick(self._rng, self._cards[-20:])
        text = language.comment(self._rng) + (self._log() if pastes_log else "")
        body = {"author": language.person(self._rng), "body": text, **attached}
        return self._request("POST", f"/cards/{{{card}}}/comments", body, needs=(card,), answer=answer)

    def leaves(self) -> Iterator[Request]:
        """In a hurry, so that deliveries are still waiting; and not everybody there has heard of it."""
        for _ in range(BURST):
            yield self.works()
        closing = self._request("DELETE", "/account", {}, needs=tuple(self._sent), answer=204)
        yield closing
        for _ in range(LATECOMERS):
            body = {"title": self.customer.language.title(self._rng)}
            yield self._request("POST", "/cards", body, needs=(closing.id,), answer=404)

    def _attached(self) -> dict[str, object]:
        return {"attachment": {"name": "plan.tif", "megabytes": 260}} if self._rng.random() < TOO_BIG else {}

    def _log(self) -> str:
        least, most = LOG_SIZES
        return "\n" + words.pasted_log(self._rng, least + int(self._rng.random() * (most - least)))

    def _request(
        self, method: str, path: str, body: Mapping[str, object], *, needs: tuple[str, ...] = (), answer: int = 201
    ) -> Request:
        request = Request(
            id=next(self._ids),
            account=self.customer.slug,
            method=method,
            path=path,
            body=body,
            needs=needs,
            answer=answer,
        )
        self._sent.append(request.id)
        return request


if __name__ == "__main__":
    write()
    write_servers()
