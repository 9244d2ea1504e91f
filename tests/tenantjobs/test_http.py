"""A scope around every request, whatever becomes of it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from io import BytesIO
from typing import Any
from wsgiref.simple_server import demo_app
from wsgiref.validate import validator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tenantjobs import current
from tenantjobs.current import Current
from tenantjobs.errors import TenantGone
from tenantjobs.http import CurrentMiddleware, CurrentWSGIMiddleware

other: ContextVar[str] = ContextVar("other", default="-")


def by_header(scope: Any) -> dict[str, str] | None:
    tenant_id = dict(scope["headers"]).get(b"x-tenant")
    return None if tenant_id is None else {"tenant_id": tenant_id.decode()}


def here() -> str:
    return f"{Current.scope}:{Current.tenant_id}"


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None: ...


def scope_of(tenant_id: str | None = None, type: str = "http") -> dict[str, Any]:
    return {"type": type, "headers": [] if tenant_id is None else [(b"x-tenant", tenant_id.encode())]}


# ASGI


async def test_a_request_runs_in_the_scope_that_was_resolved() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(here())
        await asyncio.sleep(0)
        seen.append(here())

    for type in ("http", "websocket"):
        await CurrentMiddleware(app, resolve=by_header)(scope_of("acme", type), receive, send)

    assert seen == ["tenant:acme"] * 4
    assert here() == "unset:None"


async def test_an_async_resolve_is_awaited() -> None:
    async def resolve(scope: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"tenant_id": 42}

    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(here())

    await CurrentMiddleware(app, resolve=resolve)(scope_of(), receive, send)

    assert seen == ["tenant:42"]


async def test_without_a_tenant_the_scope_is_unset_whatever_was_there_before() -> None:
    seen = []

    def resolve(scope: Any) -> None:
        seen.append(here())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(here())

    with Current.set(tenant_id="leftover"):
        await CurrentMiddleware(app, resolve=resolve)(scope_of(), receive, send)
        assert Current.tenant_id == "leftover"

    assert seen == ["unset:None", "unset:None"]


async def test_another_tenant_may_follow_on_the_same_task() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(here())
        current.Current.set(tenant_id=Current.tenant_id or "").__enter__()  # and never left

    served = CurrentMiddleware(app, resolve=by_header)
    for tenant_id in ("acme", "globex", None):
        await served(scope_of(tenant_id) if tenant_id else scope_of("initech"), receive, send)

    assert seen == ["tenant:acme", "tenant:globex", "tenant:initech"]


async def test_the_lifespan_passes_through_untouched() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(here())

    def resolve(scope: Any) -> dict[str, str]:
        raise AssertionError("a lifespan is no request")

    with Current.system("startup"):
        await CurrentMiddleware(app, resolve=resolve)({"type": "lifespan"}, receive, send)

    assert seen == ["system:None"]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_the_scope_is_left_when_the_application_fails(error: type[BaseException]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(error):
        await CurrentMiddleware(app, resolve=by_header)(scope_of("acme"), receive, send)

    assert here() == "unset:None"


async def test_what_resolve_raises_comes_out_and_nothing_runs() -> None:
    def gone(scope: Any) -> dict[str, str]:
        raise TenantGone("acme is gone")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("must not run")

    with pytest.raises(TenantGone):
        await CurrentMiddleware(app, resolve=gone)(scope_of(), receive, send)
    for nobody in ("", " ", "0"):
        with pytest.raises(ValueError):
            await CurrentMiddleware(app, resolve=by_header)(scope_of(nobody), receive, send)
    with pytest.raises(TypeError, match="tenent_id"):
        await CurrentMiddleware(app, resolve=lambda scope: {"tenent_id": "acme"})(scope_of(), receive, send)

    assert here() == "unset:None"


async def test_requests_at_the_same_time_do_not_see_each_other() -> None:
    seen: dict[str, set[str]] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        mine = scope["headers"][0][1].decode()
        for _ in range(5):
            seen.setdefault(mine, set()).add(here())
            await asyncio.sleep(0)

    served = CurrentMiddleware(app, resolve=by_header)
    await asyncio.gather(*(served(scope_of(f"t{number}"), receive, send) for number in range(20)))

    assert seen == {f"t{number}": {f"tenant:t{number}"} for number in range(20)}


def starlette(seen: list[str]) -> Starlette:
    def plain(request: Request) -> PlainTextResponse:  # in a thread
        return PlainTextResponse(here(), background=BackgroundTask(lambda: seen.append(here())))

    async def stream(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for _ in range(3):
                yield here() + " "
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(here())
        await socket.close()

    routes = [Route("/plain", plain), Route("/stream", stream), WebSocketRoute("/talk", talk)]
    return Starlette(routes=routes, middleware=[Middleware(CurrentMiddleware, resolve=by_header)])


async def test_it_stands_in_a_real_framework() -> None:
    seen: list[str] = []
    app = starlette(seen)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        answers = [
            (await client.get(path, headers=headers)).text
            for path in ("/plain", "/stream")
            for headers in ({"x-tenant": "acme"}, {})
        ]

    assert answers == ["tenant:acme", "unset:None", "tenant:acme " * 3, "unset:None " * 3]
    assert seen == ["tenant:acme", "unset:None"]


async def test_a_websocket_keeps_its_scope() -> None:
    sent = []

    async def connect() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def keep(message: Any) -> None:
        sent.append(message.get("text"))

    scope = {**scope_of("acme", "websocket"), "path": "/talk", "query_string": b"", "subprotocols": []}
    await starlette([])(scope, connect, keep)

    assert "tenant:acme" in sent


# WSGI


def by_environ(environ: dict[str, Any]) -> dict[str, str] | None:
    return {"tenant_id": environ["HTTP_X_TENANT"]} if "HTTP_X_TENANT" in environ else None


def environ_of(tenant_id: str | None = None) -> dict[str, Any]:
    return {} if tenant_id is None else {"HTTP_X_TENANT": tenant_id}


def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
    return lambda data: None


class Body:
    """A body that says where it is made and closed."""

    def __init__(self, parts: int = 2, error: type[BaseException] | None = None) -> None:
        self.parts = parts
        self.error = error
        self.closed: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.parts):
            yield here().encode()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed.append(here())


def test_a_wsgi_request_and_its_body_run_in_the_scope_that_was_resolved() -> None:
    body = Body()
    answer: Any = CurrentWSGIMiddleware(lambda environ, start: body, by_environ)(environ_of("acme"), start_response)

    parts = []
    for part in answer:
        assert here() == "unset:None"
        parts.append(part)
    answer.close()

    assert parts == [b"tenant:acme", b"tenant:acme"]
    assert body.closed == ["tenant:acme"]
    assert here() == "unset:None"


def test_a_wsgi_generator_leaks_nothing_into_the_server_between_its_parts() -> None:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        with Current.switch("a report", tenant_id="globex"):
            other.set("set by the application")
            yield here().encode()
            yield here().encode()

    served = CurrentWSGIMiddleware(app, by_environ)
    first: Any = iter(served(environ_of("acme"), start_response))
    second: Any = iter(served(environ_of("initech"), start_response))

    assert [next(first), next(second), next(first), next(second)] == [b"tenant:globex"] * 4
    assert (here(), other.get()) == ("unset:None", "-")
    first.close()
    second.close()
    assert (here(), other.get()) == ("unset:None", "-")


def test_a_wsgi_application_sees_what_the_server_has_set_elsewhere() -> None:
    token = other.set("set by the server")
    try:
        served = CurrentWSGIMiddleware(lambda environ, start: [other.get().encode()], by_environ)
        assert served(environ_of("acme"), start_response) == [b"set by the server"]
    finally:
        other.reset(token)


def test_a_wsgi_request_without_a_tenant_is_unset_whatever_the_thread_has_left_over() -> None:
    served = CurrentWSGIMiddleware(lambda environ, start: [here().encode()], by_environ)
    with Current.set(tenant_id="leftover"):
        assert served(environ_of(), start_response) == [b"unset:None"]
        assert served(environ_of("acme"), start_response) == [b"tenant:acme"]
        assert Current.tenant_id == "leftover"


def test_the_wsgi_scope_is_left_when_the_application_fails_at_any_point() -> None:
    def fail(environ: Any, start: Any) -> list[bytes]:
        raise OSError

    with pytest.raises(OSError):
        CurrentWSGIMiddleware(fail, by_environ)(environ_of("acme"), start_response)
    assert here() == "unset:None"

    body = Body(error=OSError)
    answer: Any = CurrentWSGIMiddleware(lambda environ, start: body, by_environ)(environ_of("acme"), start_response)
    with pytest.raises(OSError):
        list(answer)
    answer.close()
    assert body.closed == ["tenant:acme"]
    assert here() == "unset:None"


def test_what_a_wsgi_resolve_raises_comes_out_and_nothing_runs() -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        raise AssertionError("must not run")

    with pytest.raises(ValueError):
        CurrentWSGIMiddleware(app, by_environ)(environ_of(""), start_response)


def test_a_thread_that_outlives_a_wsgi_request_keeps_its_tenant() -> None:
    go_on, seen = threading.Event(), []

    def work() -> None:
        go_on.wait(10)
        seen.append(here())

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        yield b""
        environ["thread"] = thread

    environ = environ_of("acme")
    answer: Any = CurrentWSGIMiddleware(app, by_environ)(environ, start_response)
    list(answer)
    answer.close()
    go_on.set()
    environ["thread"].join()

    assert seen == ["tenant:acme"]


def test_a_wsgi_request_is_freed_when_it_is_closed_and_not_by_the_collector() -> None:
    class Tenant:
        id = "acme"

    def resolve(environ: Any) -> dict[str, Any]:
        tenant = Tenant()
        freed.append(weakref.ref(tenant))
        return {"tenant": tenant}

    freed: list[weakref.ref[Tenant]] = []
    gc.disable()
    try:
        answer: Any = CurrentWSGIMiddleware(lambda environ, start: Body(), resolve)({}, start_response)
        list(answer)
        assert freed[0]() is not None
        answer.close()
        del answer
        assert freed[0]() is None
    finally:
        gc.enable()


def test_wsgi_requests_in_threads_do_not_see_each_other() -> None:
    barrier = threading.Barrier(8)

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        for _ in range(3):
            barrier.wait(10)
            yield here().encode()

    served = CurrentWSGIMiddleware(app, by_environ)

    def request(number: int) -> tuple[list[bytes], str]:
        answer: Any = served(environ_of(f"t{number}"), start_response)
        parts = list(answer)
        answer.close()
        return parts, here()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(request, range(8)))

    assert answers == [([f"tenant:t{number}".encode()] * 3, "unset:None") for number in range(8)]


def test_it_is_good_wsgi() -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    served = validator(CurrentWSGIMiddleware(validator(demo_app), by_environ))
    answer: Any = served(environ, start_response)
    parts = list(answer)
    answer.close()

    assert b"Hello world!" in b"".join(parts)


def test_the_module_imports_no_framework_and_no_event_loop() -> None:
    program = "import sys, tenantjobs.http; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"asyncio", "starlette", "wsgiref", "http", "sqlalchemy"} & set(loaded) == set()
