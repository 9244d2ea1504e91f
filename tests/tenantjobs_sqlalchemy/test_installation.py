from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import identity
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import factories, install, uninstall
from tenantjobs_sqlalchemy.tracking import is_tracked

ANY: Any = dict


class OwnSession(Session):
    pass


class OwnAsyncSession(AsyncSession):
    sync_session_class = OwnSession


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    uninstall()


@pytest.mark.parametrize(
    "target",
    [
        OwnSession,
        sessionmaker(class_=OwnSession),
        scoped_session(sessionmaker(class_=OwnSession)),
        scoped_session(OwnSession),  # type: ignore[arg-type]  # it works at run time
        OwnAsyncSession,
        async_sessionmaker(class_=OwnAsyncSession),
        async_sessionmaker(sync_session_class=OwnSession),
        async_scoped_session(async_sessionmaker(class_=OwnAsyncSession), scopefunc=lambda: 1),
    ],
    ids=[
        "session",
        "maker",
        "scoped maker",
        "scoped session",
        "async session",
        "async maker",
        "async maker of a sync class",
        "scoped async maker",
    ],
)
def test_whatever_makes_sessions_can_be_installed(target: Any) -> None:
    install(target)
    made = target()
    session = made if isinstance(made, Session) else getattr(made, "sync_session", None) or made()

    assert is_tracked(session)
    assert not is_tracked(Session())


def test_only_the_sessions_of_an_installed_maker_are_followed() -> None:
    maker, other = sessionmaker(), sessionmaker()
    install(maker)

    assert is_tracked(maker())
    assert not is_tracked(other())


@pytest.mark.parametrize("target", [create_engine("sqlite://"), None, "shop.db:Session", object, scoped_session(ANY)])
def test_anything_else_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="what makes sessions is wanted"):
        install(target)


def test_again_is_the_same() -> None:
    maker = sessionmaker()
    for _ in range(3):
        install(maker)
    ours = [each for each in identity.locators() if type(each).__module__.startswith("tenantjobs_sqlalchemy")]

    assert len(ours) == 1


def test_the_last_one_of_each_colour_makes_the_sessions_of_jobs() -> None:
    first, second, third = sessionmaker(), sessionmaker(), async_sessionmaker()
    for target in (first, second, third):
        install(target)
    sync, asynchronous = factories.installed("sync"), factories.installed("async")

    assert sync is not None
    assert sync.make is second
    assert asynchronous is not None
    assert asynchronous.make is third
    assert is_tracked(first())


def test_a_base_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a declarative base or a registry is wanted"):
        install(sessionmaker(), base=dict)


def test_the_package_says_what_is_public() -> None:
    assert tenantjobs_sqlalchemy.__all__ == [
        "TenantScoped",
        "after_create_commit",
        "after_destroy_commit",
        "after_update_commit",
        "ain_batches",
        "begin",
        "current_session",
        "deadlock",
        "in_batches",
        "insert_once",
        "install",
        "locked",
        "uninstall",
    ]
