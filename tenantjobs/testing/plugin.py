"""The pytest plugin: jobs in memory for a test that asks for it, and the leak sentinel around every test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tenantjobs.sentinel import Sentinel
    from tenantjobs.testing import Clock

# tenantjobs is imported where it is needed, since pytest loads plugins before coverage and configuration are in place.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "tenantjobs_sentinel",
        "fail (default): a test fails in which a job touched another tenant's rows or left something behind; "
        "warn: it is said; off: nobody looks",
        default="fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tenantjobs_leaks: jobs of this test may leak, since that is what it is about")
    mode = config.getini("tenantjobs_sentinel")
    if mode not in ("fail", "warn", "off"):
        raise pytest.UsageError(f"tenantjobs_sentinel = {mode!r}: one of fail, warn, off is wanted")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    mode = item.config.getini("tenantjobs_sentinel")
    if mode == "off" or item.get_closest_marker("tenantjobs_leaks") is not None:
        return (yield)
    from tenantjobs import sentinel  # noqa: PLC0415

    with sentinel.watch() as watching:
        try:
            result = yield
        except BaseException:
            _add_to_report(item, watching)
            raise
    if mode == "fail" and watching.leaks:
        pytest.fail("a job of this test leaked:\n" + _told(watching), pytrace=False)
    _add_to_report(item, watching)
    return result


@pytest.fixture
def tenantjobs_test() -> Iterator[None]:
    """Nothing leaves the process: jobs wait in memory until ``testing.drain()`` performs them."""
    from tenantjobs import testing  # noqa: PLC0415

    with testing.override(adapter="test"):
        yield


@pytest.fixture
def tenantjobs_clock() -> Iterator[Clock]:
    """A clock to move: ``tenantjobs_clock.move(timedelta(hours=1))``; put right after the test."""
    from tenantjobs.testing import movable_clock  # noqa: PLC0415

    with movable_clock() as clock:
        yield clock


def _add_to_report(item: pytest.Item, watching: Sentinel) -> None:
    if watching.leaks:
        item.add_report_section("call", "leaks of jobs", _told(watching))


def _told(watching: Sentinel) -> str:
    return "\n".join(map(str, watching.leaks))
