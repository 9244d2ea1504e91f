"""What users write with ``Current``, with the exact types that both checkers must see. Checked, never run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, assert_type
from uuid import UUID

from tenantjobs import current
from tenantjobs.current import Snapshot, attribute
from tenantjobs.http import CurrentMiddleware, CurrentWSGIMiddleware


class Account:
    id: int


class User: ...


class Request: ...


class Current(current.Current):
    tenant: Account | None = None
    user: User | None = attribute(default=None, load=True)
    request_id: str | None = None
    http_request: Request | None = attribute(default=None, carried=False)


class Regional(Current):
    region: str = "eu"


acme, ann = Account(), User()

with Current.set(tenant=acme, user=ann, request_id="r-1", http_request=Request()):
    assert_type(Current.user, User | None)
with Current.set(tenant_id="42"), Current.set(tenant_id=42), Current.set(tenant_id=UUID(int=1)):
    pass
with Current.set(user=None):
    pass
with Current.system("nightly cleanup"), Current.switch("support copy", tenant=acme, request_id="r-2"):
    pass
with Regional.set(tenant=acme, region="us"):
    assert_type(Regional.region, str)
    assert_type(Regional.require_tenant(), Account)
with current.Current.set(tenant_id="42"):
    pass

assert_type(Current.set(tenant=acme), AbstractContextManager[None])
assert_type(Current.tenant_id, str | None)
assert_type(Current.require_tenant(), Account)
assert_type(current.Current.tenant, Any)
assert_type(Current.scope, Literal["tenant", "system", "unset"])


def annotated(found: Account | None, identifier: str | None) -> None: ...


annotated(Current.tenant, Current.tenant_id)

snapshot = Current.capture()
assert_type(snapshot, Snapshot)
assert_type(snapshot.encode(), bytes)
with Current.restored(Snapshot.decode(snapshot.encode())), current.cleared():
    pass


async def application(scope: Any, receive: Any, send: Any) -> None: ...


async def ask(scope: Any) -> dict[str, Any] | None:
    return {"tenant_id": scope["path"]}


def wsgi_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    return [b"ok"]


CurrentMiddleware(application, resolve=lambda scope: {"tenant_id": "42"})
CurrentMiddleware(application, resolve=ask)
CurrentWSGIMiddleware(wsgi_application, resolve=lambda environ: None)
