from __future__ import annotations

import pytest

from tenantjobs import checks


@pytest.fixture(autouse=True)
def none_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_checks", [])


def test_what_was_registered_is_asked_once() -> None:
    def check() -> list[str]:
        return ["it creaks"]

    checks.register(check)
    checks.register(check)

    assert list(checks.problems()) == ["it creaks"]


def test_a_check_that_cannot_be_made_is_a_finding() -> None:
    def check() -> list[str]:
        raise ConnectionError("nobody there")

    checks.register(check)

    assert list(checks.problems()) == [f"{__name__} could not be checked: ConnectionError: nobody there"]
