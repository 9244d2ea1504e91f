"""Installing: tell tenantjobs what makes the application's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session, registry, scoped_session, sessionmaker

from tenantjobs import identity, transaction
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import factories, lingering, models, tracking, transactions
from tenantjobs_sqlalchemy.locator import RecordLocator
from tenantjobs_sqlalchemy.sessions import SessionWork

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker

_work = SessionWork()
_locator = RecordLocator()


def install(
    target: type[Session]
    | sessionmaker[Any]
    | scoped_session[Any]
    | type[AsyncSession]
    | async_sessionmaker[Any]
    | async_scoped_session[Any],
    *,
    name: str | None = None,
    base: Any = None,
    warn_after: float | None = lingering.WARN_AFTER,
) -> None:
    """Let jobs follow the transactions of these sessions, and give each attempt of a job a session of its own.

    May be called for several: all of them are followed, and the last one of each colour makes the sessions of jobs.
    Again for the same one it changes nothing. ``name`` is the application's part of ``gid://app/Model/key``, if not
    the setting ``name``. ``base`` is a declarative base or ``registry`` whose models were mapped by other means than
    ``DeclarativeBase``, before this package was imported; all others are found by themselves. ``warn_after`` seconds a
    job may wait in a session that only reads before a warning names it; None for never.

    ``ConfigurationError`` for anything that makes no sessions.
    """
    factory = factories.factory_of(target)
    if base is not None:
        models.learn_all(_registry_of(base))
    if name is not None:
        _locator.name = name
    if warn_after is not None and warn_after <= 0:
        raise ConfigurationError(f"install(warn_after={warn_after!r}): a number of seconds above 0 is wanted, or None")
    lingering.limits[factory.session_class] = warn_after
    transactions.follow(factory.session_class)
    factories.remember(factory)
    transaction.register_work(_work)
    identity.register(_locator)


def uninstall() -> None:
    """Undo every ``install``: jobs leave at the call again, and have no sessions. For tests."""
    tracking.untrack_all()
    factories.forget_all()
    identity.unregister(_locator)
    _locator.name = None


def _registry_of(base: Any) -> registry:
    found = base if isinstance(base, registry) else getattr(base, "registry", None)
    if not isinstance(found, registry):
        raise ConfigurationError(f"install(base={base!r:.80}): a declarative base or a registry is wanted")
    return found
