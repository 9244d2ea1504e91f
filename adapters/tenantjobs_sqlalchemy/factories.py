"""What ``install`` was given: where jobs get their sessions from, and which sessions are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import extension

Colour = Literal["sync", "async"]


class Factory:
    """Makes sessions of one colour; ``session_class`` is the class of the synchronous sessions that do the work."""

    def __init__(
        self, make: Callable[[], Any], session_class: type[Session], colour: Colour, registry: Any = None
    ) -> None:
        self.make = make
        self.session_class = session_class
        self.colour: Colour = colour
        self._registry = registry

    @contextmanager
    def in_place(self, session: Any) -> Iterator[None]:
        """Make ``session`` the one that the scoped session stands for, if there is a scoped session."""
        registry = self._registry
        if registry is None:
            yield
            return
        before = registry() if registry.has() else None
        registry.set(session)
        try:
            yield
        finally:
            if before is None:
                registry.clear()
            else:
                registry.set(before)


def factory_of(target: Any) -> Factory:
    """How to make sessions by ``target``; ConfigurationError if it makes none."""
    if isinstance(target, scoped_session) or extension.is_made_by(target, "async_scoped_session"):
        inner = factory_of(target.session_factory)
        return Factory(inner.make, inner.session_class, inner.colour, target.registry)
    if isinstance(target, sessionmaker):
        return Factory(target, target.class_, "sync")
    if isinstance(target, type) and issubclass(target, Session):
        return Factory(target, target, "sync")
    if extension.is_made_by(target, "async_sessionmaker"):
        return Factory(target, target.kw.get("sync_session_class") or target.class_.sync_session_class, "async")
    if extension.is_async_session_class(target):
        return Factory(target, target.sync_session_class, "async")
    raise ConfigurationError(
        f"install({target!r:.80}): what makes sessions is wanted: a Session or AsyncSession class, a sessionmaker, an "
        f"async_sessionmaker, or a scoped_session around one of them"
    )


def remember(factory: Factory) -> None:
    """Give jobs of its colour their sessions by ``factory`` from here on."""
    _installed[factory.colour] = factory


def installed(colour: Colour) -> Factory | None:
    """What gives jobs of this colour their sessions."""
    return _installed.get(colour)


def forget_all() -> None:
    """Give jobs no sessions."""
    _installed.clear()


_installed: dict[Colour, Factory] = {}
