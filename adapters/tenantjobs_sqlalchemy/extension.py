"""SQLAlchemy's asyncio extension, if the application uses it.

Whoever has an ``AsyncSession`` has loaded it. It is never loaded from here: without greenlet it cannot be.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


def async_session_of(session: Session) -> AsyncSession | None:
    """The ``AsyncSession`` that this session does the work of."""
    extension = _loaded()
    return None if extension is None else extension.async_session(session)


def is_made_by(value: object, *names: str) -> bool:
    """Whether ``value`` is an instance of one of these classes of the extension."""
    extension = _loaded()
    return extension is not None and isinstance(value, tuple(getattr(extension, name) for name in names))


def is_async_session_class(value: object) -> TypeGuard[type[AsyncSession]]:
    """Whether ``value`` is ``AsyncSession`` or a subclass."""
    extension = _loaded()
    return extension is not None and isinstance(value, type) and issubclass(value, extension.AsyncSession)


def async_session_class() -> type[AsyncSession]:
    """``AsyncSession``, for whoever was given something of the extension."""
    found: type[AsyncSession] = _loaded().AsyncSession
    return found


def _loaded() -> Any:
    extension: ModuleType | None = sys.modules.get("sqlalchemy.ext.asyncio")
    return extension
