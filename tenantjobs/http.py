"""A scope around every request: ``CurrentMiddleware`` for ASGI, ``CurrentWSGIMiddleware`` for WSGI.

app = CurrentMiddleware(app, resolve=lambda scope: {"tenant_id": subdomain_of(scope)})

``resolve`` gives what ``Current.set`` takes, or None: the request works for no tenant. Whatever an earlier request may
have left in this thread or task is out of sight from the start. What ``resolve`` raises comes out as it is, before
the application is called: a middleware around this one maps it to an answer. Setting ``tenant_id`` asks no store, so
that ``TenantGone`` comes up where ``Current.tenant`` is used, inside the application.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import Context, copy_context
from typing import Any

from tenantjobs.current import Current, cleared

Attributes = Mapping[str, Any] | None
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Any], Iterable[bytes]]


class CurrentMiddleware:
    """An ASGI application in a scope of its own for every request and every websocket, until it has answered.

    ``resolve(scope)`` is a function or a coroutine function of the connection scope.
    """

    def __init__(self, app: ASGIApp, resolve: Callable[[Scope], Attributes | Awaitable[Attributes]]) -> None:
        self.app = app
        self.resolve = resolve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with cleared():
            attributes = self.resolve(scope)
            if isinstance(attributes, Awaitable):
                attributes = await attributes
            with _set(attributes):
                await self.app(scope, receive, send)


class CurrentWSGIMiddleware:
    """A WSGI application in a scope of its own for every request, until its body is closed.

    ``resolve(environ)`` is a function. The request has a copy of the server's context, so that nothing of it shows in
    the server's thread, also between two parts of a body that is made bit by bit.
    """

    def __init__(self, app: WSGIApp, resolve: Callable[[Environ], Attributes]) -> None:
        self.app = app
        self.resolve = resolve

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        context = copy_context()
        return context.run(self._answer, context, environ, start_response)

    def _answer(self, context: Context, environ: Environ, start_response: Any) -> Iterable[bytes]:
        scope: ExitStack[bool | None] = ExitStack()
        with scope:
            scope.enter_context(cleared())
            scope.enter_context(_set(self.resolve(environ)))
            body = self.app(environ, start_response)
            if type(body) in (list, tuple):  # it is made already, and servers ask for its length
                return body
            return _Body(context, body, iter(body), scope.pop_all())


class _Body:
    """The body of an answer, made and closed in the context of its request."""

    def __init__(
        self, context: Context, body: Iterable[bytes], parts: Iterator[bytes], scope: ExitStack[bool | None]
    ) -> None:
        self._context = context
        self._body = body
        self._parts = parts
        self._scope = scope

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._parts)

    def close(self) -> None:
        self._context.run(self._close)

    def _close(self) -> None:
        with self._scope:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()


def _set(attributes: Attributes) -> AbstractContextManager[None]:
    return Current.set(**attributes) if attributes else nullcontext()
