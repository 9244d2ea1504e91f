"""A process that enqueues in transactions, some of which roll back: ``python -m tests.torture.producer FROM TO ...``.

It may be killed and started again: what is committed already, by its order, is not enqueued once more.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tenantjobs import batch, chain
from tests.torture import app
from tests.torture.kinds import PARTS, kind_of
from tests.torture.tables import Order

SLICE = 20  # orders in a transaction
ROLLED_BACK = 0.1  # of the transactions
AHEAD = 5_000  # jobs that wait before no more are placed: producers are to be there, and be killed, until near the end

Answer = TypeVar("Answer")


class RollsBack(Exception):
    """An error in the middle of a transaction, as planned."""


def main(first: int, last: int, tenants: int, seed: str) -> None:
    chance = random.Random(f"{seed} {first} {time.time()}")
    for start in range(first, last, SLICE):
        while _persistently(_waiting) > AHEAD:
            time.sleep(0.5)
        numbers = range(start, min(start + SLICE, last))
        if chance.random() < ROLLED_BACK:
            _persistently(lambda numbers=numbers: _roll_back(numbers, tenants))
        _persistently(lambda numbers=numbers: _commit(numbers, tenants))


def _persistently(ask: Callable[[], Answer]) -> Answer:
    """Until the database has taken it, or has it already: the answer to a commit may have been lost."""
    while True:
        try:
            return ask()
        except (SQLAlchemyError, OSError) as error:
            print(f"once more: {error}", file=sys.stderr, flush=True)
            time.sleep(0.3)


def _waiting() -> int:
    """How many jobs do, none of them counted beyond those that matter here."""
    query = f"SELECT 1 FROM tj_jobs WHERE state IN ('ready', 'scheduled', 'blocked') LIMIT {AHEAD + 1}"
    with app.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM ({query}) AS waiting")).scalar_one())


def _commit(numbers: range, tenants: int) -> None:
    with app.Session.begin() as session:
        if session.get(Order, numbers[0]) is None:
            _place(session, numbers, tenants)


def _roll_back(numbers: range, tenants: int) -> None:
    """The same with numbers of its own, of which nothing may ever be seen."""
    try:
        with app.Session.begin() as session:
            _place(session, range(-numbers[0] - 1, -numbers[-1] - 2, -1), tenants)
            session.flush()
            raise RollsBack
    except RollsBack:
        return


def _place(session: Session, numbers: range, tenants: int) -> None:
    for number in numbers:
        order = Order(number=number, kind=kind_of(abs(number)), tenant=f"t{abs(number) * 13 % tenants}")
        session.add(order)
        with app.Current.set(tenant_id=order.tenant, mark=order.mark):
            ENQUEUED[order.kind](order)


def _keyed(order: Order) -> None:
    """Some are asked for twice."""
    for _ in range(1 + order.number % 2):
        app.keyed.perform_later(order.number)


def _alone(order: Order) -> None:
    """Orders of about the same time ask for the same, twice each; all but one of what waits is refused."""
    order.key = f"{order.tenant} {order.number // 4000}"
    for _ in range(2):
        app.alone.perform_later(order.number, order.key)


def _scheduled(order: Order) -> None:
    due = datetime.now(UTC) + timedelta(seconds=order.number % 50 / 10)
    order.due = due.timestamp()
    app.transactional.set(wait_until=due).perform_later(order.number)


def _batch(order: Order) -> None:
    with batch(on_success=app.called_back.call(order.number)):
        for part in PARTS:
            app.transactional.perform_later(order.number, part)


def _chain(order: Order) -> None:
    chain(*(app.transactional.call(order.number, part) for part in PARTS)).perform_later()


ENQUEUED: dict[str, Callable[[Order], object]] = {
    "plain": lambda order: app.plain.perform_later(order.number),
    "transactional": lambda order: app.transactional.perform_later(order.number),
    "idempotent": _keyed,
    "async": lambda order: app.on_a_loop.perform_later(order.number),
    "unique": _alone,
    "limits_concurrency": lambda order: app.limited.perform_later(order.number),
    "limits_rate": lambda order: app.rated.perform_later(order.number),
    "retry_on": lambda order: app.flaky.perform_later(order.number),
    "fails": lambda order: app.hopeless.perform_later(order.number),
    "steps": lambda order: app.stepwise.perform_later(order.number),
    "scheduled": _scheduled,
    "enqueues": lambda order: app.parent.perform_later(order.number),
    "batch": _batch,
    "chain": _chain,
}

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
