"""The web application: each request is one account's, and one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session as OpenSession
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from examples.shop.current import Current
from examples.shop.db import Session
from examples.shop.delivery import announce
from examples.shop.models import Account, Card, Comment, Webhook, new_id
from tenantjobs import TenantGone
from tenantjobs.http import CurrentMiddleware

LARGEST_ATTACHMENT = 100  # megabytes

Action = Callable[..., Response]


class TooLarge(Exception):
    """The shop does not take a file of this size."""


def open_account(session: OpenSession, *, name: str, secret: str) -> Response:
    session.add(Account(id=Current.tenant_id, name=name, secret=secret))
    return JSONResponse({"id": Current.tenant_id}, 201)


def close_account(session: OpenSession) -> Response:
    session.execute(delete(Account).where(Account.id == Current.require_tenant().id))
    return Response(status_code=204)


def add_webhook(session: OpenSession, *, url: str) -> Response:
    webhook = Webhook(id=new_id(), url=url)
    session.add(webhook)
    return JSONResponse({"id": webhook.id}, 201)


def create_card(session: OpenSession, *, title: str, attachment: Mapping[str, Any] | None = None) -> Response:
    account = Current.require_tenant()
    card = Card(id=new_id(), title=title)
    session.add(card)
    deliveries = announce(session, account, "card.created", {"card": card.id, "title": title})
    attach(attachment)
    return JSONResponse({"id": card.id, "deliveries": deliveries}, 201)


def comment_on_card(
    session: OpenSession, *, card: str, author: str, body: str, attachment: Mapping[str, Any] | None = None
) -> Response:
    account = Current.require_tenant()
    found = session.scalars(select(Card).where(Card.id == card)).one()
    comment = Comment(id=new_id(), card_id=found.id, author=author, body=body)
    session.add(comment)
    deliveries = announce(session, account, "comment.created", {"card": card, "comment": comment.id, "body": body})
    attach(attachment)
    return JSONResponse({"id": comment.id, "deliveries": deliveries}, 201)


def attach(file: Mapping[str, Any] | None) -> None:
    """Files come last. One that is refused takes everything back, and nobody ever hears of it."""
    if file is not None and file["megabytes"] > LARGEST_ATTACHMENT:
        raise TooLarge(f"{file['name']} has {file['megabytes']} MB; up to {LARGEST_ATTACHMENT} MB can be attached")


def action(handler: Action) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that calls ``handler`` with what is in the path and in the body, in a transaction of its own."""

    async def endpoint(request: Request) -> Response:
        body = msgspec.json.decode(await request.body() or b"{}")
        return await run_in_threadpool(in_transaction, {**body, **request.path_params})

    def in_transaction(parameters: dict[str, Any]) -> Response:
        with Session.begin() as session:
            return handler(session, **parameters)

    return endpoint


def answer(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _request, error: JSONResponse({"error": str(error)}, status)


def resolve(scope: Scope) -> dict[str, Any]:
    """Whose request it is, by the host name: acme.shop.example is the account acme."""
    headers = Headers(scope=scope)
    return {"tenant_id": headers["host"].partition(".")[0], "request_id": headers.get("x-request-id")}


app = Starlette(
    routes=[
        Route("/account", action(open_account), methods=["POST"]),
        Route("/account", action(close_account), methods=["DELETE"]),
        Route("/webhooks", action(add_webhook), methods=["POST"]),
        Route("/cards", action(create_card), methods=["POST"]),
        Route("/cards/{card}/comments", action(comment_on_card), methods=["POST"]),
    ],
    middleware=[Middleware(CurrentMiddleware, resolve=resolve)],
    exception_handlers={NoResultFound: answer(404), TenantGone: answer(404), TooLarge: answer(413)},
)
