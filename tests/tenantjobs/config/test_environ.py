from __future__ import annotations

import pytest

from tenantjobs import config
from tenantjobs.config import environ, layer
from tenantjobs.config.mistakes import Mistakes
from tenantjobs.errors import ConfigurationError


def test_variables_set_options_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_ADAPTER", "inline")
    monkeypatch.setenv("TENANTJOBS_APP", "shop.main")
    monkeypatch.setenv("TENANTJOBS_TENANCY", "observe")
    monkeypatch.setenv("TENANTJOBS_SIZE_LIMIT", "4096")
    monkeypatch.setenv("TENANTJOBS_ENV", "production")

    settings = config.load()

    assert settings.adapter == "inline"
    assert settings.app == "shop.main"
    assert settings.tenancy == "observe"
    assert settings.size_limit == 4096
    assert settings.environment == "production"
    assert str(settings.origins["environment"]) == "TENANTJOBS_ENV"


def test_variables_set_keys_of_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_DB_URL", "sqlite://")
    monkeypatch.setenv("TENANTJOBS_DB_MAX_DEATHS", "5")

    settings = config.load()

    assert settings.sections == {"db": {"url": "sqlite://", "max_deaths": "5"}}
    assert str(settings.origins["db.url"]) == "TENANTJOBS_DB_URL"


def test_the_longest_name_of_a_section_wins() -> None:
    variables = {"TENANTJOBS_DB_SHARD_URL": "a", "TENANTJOBS_MY_QUEUE_URL": "b"}

    found = environ.read(variables, lambda: ["db", "db_shard", "my-queue"], Mistakes())

    assert {name: list(keys) for name, keys in found.sections.items()} == {"db_shard": ["url"], "my-queue": ["url"]}


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_ADAPTER", "")
    monkeypatch.setenv("TENANTJOBS_TENANCY", "")

    assert config.load().adapter is None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TENANTJOBS_ADPTER", "db", "TENANTJOBS_ADPTER: is no setting; did you mean TENANTJOBS_ADAPTER?"),
        ("TENANTJOBS_ENVIRONMENT", "x", "TENANTJOBS_ENVIRONMENT: is no setting; did you mean TENANTJOBS_ENV?"),
        ("TENANTJOBS_CONFG", "x", "TENANTJOBS_CONFG: is no setting; did you mean TENANTJOBS_CONFIG?"),
        (
            "TENANTJOBS_TENANT",
            "x",
            "TENANTJOBS_TENANT: a variable cannot say this; call tenantjobs.configure(tenant=...)",
        ),
        ("TENANTJOBS_SIZE_LIMIT", "big", "TENANTJOBS_SIZE_LIMIT: expected int, got str: 'big'"),
        (
            "TENANTJOBS_TENANCY",
            "requird",
            "TENANTJOBS_TENANCY: 'requird' is none of required, optional, observe, none; did you mean required?",
        ),
        ("TENANTJOBS_ADAPTER", "dbb", "TENANTJOBS_ADAPTER: no adapter is called 'dbb'; did you mean db?"),
    ],
)
def test_a_mistake_names_the_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        config.load()

    assert message in str(caught.value)


def test_variables_that_look_like_nothing_of_ours_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "SERVICE_HOST", "WEB_PORT_80_TCP", "FAULT", "REQUIRE_SERVICES"):
        monkeypatch.setenv(f"TENANTJOBS_{name}", "x")

    assert config.load().sections == {}


def test_the_list_of_adapters_is_not_read_for_options_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> list[str]:
        raise AssertionError("asked for the sections")

    environ.read({"TENANTJOBS_APP": "shop", "HOME": "/"}, never, Mistakes())

    assert layer.Layer() == environ.read({}, never, Mistakes())
