"""Mistakes with ``Current`` that both checkers must catch, on exactly the marked lines. Checked, never run."""

from __future__ import annotations

from tenantjobs import current
from tenantjobs.current import attribute
from tenantjobs.http import CurrentMiddleware


class Account:
    id: int


class User: ...


class Current(current.Current):
    tenant: Account | None = None
    user: User | None = attribute(default=None, load=True)
    request_id: str | None = None


class Regional(Current):
    region: str = "eu"


class Mistyped(current.Current):
    retries: int = attribute(default="three")  # error: mypy, pyright
    colour: str = attribute(defualt=None)  # error: mypy, pyright


acme, ann = Account(), User()

Current.set(tenent=acme)  # error: mypy, pyright
Current.set(usr=ann)  # error: mypy, pyright
Current.set(tenant=ann)  # error: mypy, pyright
Current.set(tenant="42")  # error: mypy, pyright
Current.set(user="ann")  # error: mypy, pyright
Current.set(request_id=7)  # error: mypy, pyright
Current.set(tenant_id=4.2)  # error: mypy, pyright
Current.set(tenant_id=None)  # error: mypy, pyright
Current.set(acme)  # error: mypy, pyright
Current.set(region="us")  # error: mypy, pyright
Regional.set(region=1)  # error: mypy, pyright
current.Current.set(user=ann)  # error: mypy, pyright
Current.switch(tenant=acme)  # error: mypy, pyright
Current.switch("support copy", tenent=acme)  # error: mypy, pyright
Current.switch("support copy", tenant=ann)  # error: mypy, pyright
Current.system()  # error: mypy, pyright
Current.system(reason=7)  # error: mypy, pyright
Current.restored(b"{}")  # error: mypy, pyright
Current.user.name  # error: mypy, pyright
Current.usr  # error: mypy, pyright
Current.scope = "system"  # error: mypy, pyright
Current.require_tenant().name  # error: mypy, pyright
CurrentMiddleware(lambda scope: None, resolve=None)  # error: mypy, pyright
