from __future__ import annotations

import logging
from typing import Any

import pytest

from tenantjobs import Current, report, testing
from tenantjobs.errors import ConfigurationError

told: list[tuple[BaseException, bool, dict[str, Any]]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    told.clear()


def reporter(error: BaseException, *, handled: bool, context: Any) -> None:
    told.append((error, handled, dict(context)))


def test_an_error_reaches_every_reporter_with_the_tenant_and_what_the_caller_says() -> None:
    error = ValueError("boom")
    with testing.override(error_reporters=[reporter, reporter]), Current.set(tenant_id="acme"):
        report(error, handled=False, context={"order": 7})

    assert told == [(error, False, {"tenant_id": "acme", "order": 7})] * 2


@pytest.mark.parity("1a.08")
def test_one_error_is_reported_once() -> None:
    error = ValueError("boom")
    with testing.override(error_reporters=[reporter]):
        report(error)
        report(error)

    assert len(told) == 1


def test_a_reporter_that_fails_keeps_no_other_from_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    def broken(error: BaseException, *, handled: bool, context: Any) -> None:
        raise RuntimeError("reporter")

    with testing.override(error_reporters=[broken, reporter]):
        report(ValueError("boom"))

    assert len(told) == 1
    assert "an error reporter failed" in caplog.text


@pytest.mark.parametrize(("handled", "level"), [(True, logging.WARNING), (False, logging.ERROR)])
def test_without_reporters_it_is_logged(handled: bool, level: int, caplog: pytest.LogCaptureFixture) -> None:
    report(ValueError("boom"), handled=handled)

    (record,) = [each for each in caplog.records if each.name == "tenantjobs.reporting"]
    assert (record.levelno, "boom" in record.getMessage()) == (level, True)


def test_what_is_no_list_of_reporters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="error_reporters"):
        with testing.override(error_reporters=reporter):
            report(ValueError())
