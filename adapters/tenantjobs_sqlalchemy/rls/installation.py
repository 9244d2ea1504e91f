"""Installing row level security: which engines tell their transactions whom they are for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.util import greenlet_spawn

from tenantjobs import checks
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import extension
from tenantjobs_sqlalchemy.rls.following import Following
from tenantjobs_sqlalchemy.rls.verification import findings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker


def install(
    target: Engine | AsyncEngine | sessionmaker[Any] | async_sessionmaker[Any], *, system_role: str | None = None
) -> None:
    """Tell every transaction of this engine, in its first statement, the tenant or the system scope of ``Current``.

    For sessions, Core and the jobs of a worker alike; told again where the scope changes within the transaction, and
    after a savepoint was rolled back. Out of any scope nothing is told. On an AUTOCOMMIT connection there is no
    transaction to tell, and no tenant's row to see. ``target`` may also be a ``sessionmaker`` with the engine.

    ``system_role`` is the one that ``enable`` was given: taken for the scope of the system, for the transaction only.
    ``tenantjobs check`` shows what ``verify`` finds. ``ConfigurationError`` for an engine that is not PostgreSQL's.
    """
    engine = _engine_of(target)
    if engine.dialect.name != "postgresql":
        raise ConfigurationError(
            f"rls.install({engine!r}): row level security is PostgreSQL's, and this is {engine.dialect.name}; "
            f"install it only `if engine.dialect.name == 'postgresql'`"
        )
    following = _installed.get(engine)
    if following is None:
        following = _installed[engine] = Following()
        following.listen(engine)
    following.system_role = system_role
    checks.register(_check)


def holds(engine: Engine) -> bool:
    """Whether the transactions of this engine are told whom they are for, so that the database keeps them to it."""
    return any(engine.pool is installed.pool for installed in list(_installed))


def uninstall() -> None:
    """Undo every ``install``. For tests."""
    for engine, following in list(_installed.items()):
        following.ignore(engine)
    _installed.clear()


def _engine_of(target: Any) -> Engine:
    if isinstance(target, sessionmaker) or extension.is_made_by(target, "async_sessionmaker"):
        target = target.kw.get("bind")
    engine = getattr(target, "sync_engine", target)
    if isinstance(engine, Engine):
        return engine
    raise ConfigurationError(
        f"rls.install({target!r:.80}): an Engine, an AsyncEngine, or a sessionmaker with one is wanted"
    )


def _check() -> list[str]:
    return [finding for engine in list(_installed) for finding in _found(engine)]


def _found(engine: Engine) -> list[str]:
    return asyncio.run(greenlet_spawn(_alone, engine)) if engine.dialect.is_async else findings(engine)


def _alone(engine: Engine) -> list[str]:
    found = findings(engine)
    engine.dispose()  # its connections are of a loop that ends here
    return found


_installed: WeakKeyDictionary[Engine, Following] = WeakKeyDictionary()
