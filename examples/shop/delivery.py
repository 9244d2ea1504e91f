"""The delivery of one event to one webhook: created with the event, sent by a worker, kept as the record of it."""

from __future__ import annotations

import httpx
import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from examples.shop.current import Current
from examples.shop.models import Account, Base, LongText, Webhook, new_id
from tenantjobs import JobContext, TenantGone, current_job, discard_on, guard, idempotent, later, retry_on
from tenantjobs_sqlalchemy import TenantScoped, current_session

http = httpx.Client(timeout=1.0)


class ServerTrouble(Exception):
    """The customer's server has a problem of its own: worth another try."""


class Rejected(Exception):
    """The customer's server does not want this, and would not want it again."""


def give_up(job: JobContext, error: Exception) -> None:
    """The delivery ends as failed, and says why."""
    _close(job, "failed", error)


def refuse(job: JobContext, error: Exception) -> None:
    """The account is gone, and nothing is sent in its name any more."""
    _close(job, "refused", error)


class Delivery(TenantScoped, Base):
    """One event on its way to one address.

    It outlives its account: the books say what has left the house, and to where.
    """

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str | None]
    url: Mapped[str] = mapped_column(LongText)
    payload: Mapped[str] = mapped_column(LongText)
    status: Mapped[str] = mapped_column(default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(LongText)
    job_id: Mapped[str] = mapped_column(index=True)

    # The key commits with the status: once delivered, never again. What is left is a worker that dies after the
    # server's answer and before this commit; then the server hears of it a second time, under the same
    # Idempotency-Key, by which it knows that there is nothing left to do.
    @later(
        name="delivery.deliver",
        queue="webhooks",
        policies=[
            idempotent(key=lambda delivery: delivery.id),
            guard(lambda delivery: delivery.status == "waiting"),
            retry_on(httpx.TransportError, ServerTrouble, wait=[0.25, 0.5, 1.0], attempts=4, then=give_up),
            discard_on(Rejected, then=give_up),
            discard_on(TenantGone, then=refuse),
        ],
    )
    def deliver(self) -> None:
        """Send the event, signed with the secret of its account."""
        response = http.post(self.url, content=self.payload.encode(), headers=self.headers())
        if response.is_server_error:
            raise ServerTrouble(f"{self.url} answered {response.status_code}")
        elif response.is_error:
            raise Rejected(f"{self.url} answered {response.status_code}")
        self.status = "delivered"
        self.attempts = job.attempt if (job := current_job()) else 1

    deliver_later = later(deliver)

    def headers(self) -> dict[str, str]:
        """Whom it is from, what it belongs to, and the proof of it."""
        account = Current.require_tenant()
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": self.idempotency_key,
            "X-Request-Id": self.request_id or "",
            "X-Shop-Account": account.id,
            "X-Shop-Signature": account.sign(self.payload.encode()),
        }

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt."""
        return self.id


def announce(session: Session, account: Account, event: str, data: dict[str, object]) -> list[str]:
    """Tell every webhook of the account what has happened, as soon as it is committed; the ids of the deliveries."""
    webhooks = session.scalars(select(Webhook)).all()
    return [_deliver(session, account, webhook, event, data).id for webhook in webhooks]


def _deliver(session: Session, account: Account, webhook: Webhook, event: str, data: dict[str, object]) -> Delivery:
    id = new_id()
    message = {"id": id, "event": event, "account": account.id, "data": data}
    delivery = Delivery(
        id=id,
        url=webhook.url,
        request_id=Current.request_id,
        payload=msgspec.json.encode(message).decode(),
    )
    session.add(delivery)
    delivery.job_id = delivery.deliver_later().job_id
    return delivery


def _close(job: JobContext, status: str, error: Exception) -> None:
    # The attempt that failed was rolled back, and its records with it.
    current_session().execute(
        update(Delivery)
        .where(Delivery.job_id == job.id)
        .values(status=status, attempts=job.attempt, error=f"{type(error).__name__}: {error}")
    )
