from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tenantjobs import config
from tenantjobs.config import Misconfigured
from tenantjobs.errors import ConfigurationError
from tests.configuration import write


def test_without_any_configuration_the_defaults_hold_and_no_adapter_is_guessed() -> None:
    settings = config.load()

    assert settings.adapter is None
    assert settings.app is None
    assert settings.tenancy == "required"
    assert settings.name == "app"
    assert settings.size_limit == 1_048_576
    assert settings.environment == "development"
    assert settings.drain is None
    assert settings.file is None
    assert settings.sections == {}


def test_each_layer_wins_over_the_ones_below_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [config.load().name]
    write(folder, 'name = "file"\n')
    seen.append(config.load().name)
    monkeypatch.setenv("TENANTJOBS_NAME", "variable")
    seen.append(config.load().name)
    config.configure(name="code")
    seen.append(config.load().name)
    config.command_line(name="command-line")
    seen.append(config.load().name)
    with config.override(name="override"):
        seen.append(config.load().name)
        assert str(config.load().origins["name"]) == "override(name=...)"

    assert seen == ["app", "file", "variable", "code", "command-line", "override"]
    assert str(config.load().origins["name"]) == "--name"


def test_sections_are_merged_key_by_key_through_all_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = object()
    write(folder, '[db]\nurl = "sqlite://"\nlease = 30\nmax_deaths = 1\n')
    monkeypatch.setenv("TENANTJOBS_DB_MAX_DEATHS", "5")
    config.configure(db={"engine": engine})
    with config.override(db={"lease": 2}):
        settings = config.load()

    assert settings.sections["db"] == {"url": "sqlite://", "lease": 2, "max_deaths": "5", "engine": engine}
    assert settings.sections["db"]["engine"] is engine
    assert {key: str(origin) for key, origin in settings.origins.items()} == {
        "db.url": "tenantjobs.toml:2",
        "db.lease": "override(db={'lease': ...})",
        "db.max_deaths": "TENANTJOBS_DB_MAX_DEATHS",
        "db.engine": "configure(db={'engine': ...})",
    }


def test_configure_may_be_called_again_and_keeps_what_is_not_named_again() -> None:
    class Account: ...

    config.configure(adapter="test", tenant=Account, db={"pool": {"size": 5, "recycle": 60}})
    config.configure(adapter="inline", db={"pool": {"size": 9}, "url": "sqlite://"})

    settings = config.load()
    assert settings.adapter == "inline"
    assert settings.tenant is Account
    assert settings.sections["db"] == {"pool": {"size": 9, "recycle": 60}, "url": "sqlite://"}


def test_configure_does_not_keep_hold_of_the_caller_s_dictionary() -> None:
    section = {"lease": 5}
    config.configure(db=section)
    section["lease"] = 7

    assert config.load().sections["db"] == {"lease": 5}


def test_configure_refuses_mistakes_at_the_call_and_changes_nothing() -> None:
    config.configure(name="shop")

    with pytest.raises(Misconfigured) as caught:
        config.configure(name="other", adaptr="db", tenancy="maybe", size_limit="5", db="sqlite://")

    assert list(caught.value.mistakes) == [
        "configure(adaptr=...): unknown key 'adaptr'; did you mean adapter?",
        "configure(tenancy=...): 'maybe' is none of required, optional, observe, none",
        "configure(size_limit=...): expected int, got str: '5'",
        "configure(db=...): db is a section: its settings are keys below it, as in [db]",
    ]
    assert config.load().name == "shop"


def test_blocks_of_override_are_undone_in_order_even_by_an_error() -> None:
    with config.override(adapter="inline"):
        with suppress(RuntimeError), config.override(adapter="test", name="inner"):
            assert config.load().adapter == "test"
            raise RuntimeError
        assert config.load().adapter == "inline"
        assert config.load().name == "app"

    assert config.load().adapter is None


def test_blocks_that_end_out_of_order_take_only_their_own_layer_away() -> None:
    first, second = config.override(name="first"), config.override(name="second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)

    assert config.load().name == "second"
    second.__exit__(None, None, None)
    assert config.load().name == "app"


def test_a_mistake_in_override_is_raised_at_the_block() -> None:
    with pytest.raises(ConfigurationError, match=r"override\(adaptr=\.\.\.\): unknown key"):
        with config.override(adaptr="db"):
            raise AssertionError


def test_one_error_lists_every_mistake_with_its_place_and_the_nearest_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        folder,
        """\
# the configuration of a shop
adapter = "dbb"
tenantcy = "required"
tenancy = "requird"
size_limit = "big"
name = "my shop"
app = "shop.main:app"
tenant = "shop.models.Account"

[db]
leese = 5
lease = "soon"
synchronous = "ful"

[drain]
adapter = "inlin"

[dbx]
""",
    )
    monkeypatch.setenv("TENANTJOBS_ADAPTR", "db")
    monkeypatch.setenv("TENANTJOBS_DB_MAX_DEATHS", "many")
    config.configure(somewhere={"app": "shop.main:app"})

    with pytest.raises(ConfigurationError) as caught:
        config.load()
    known = sorted({*config.installed(), "drain", "encryption", "gate", "signing"})

    assert str(caught.value).splitlines() == [
        "15 mistakes in the configuration of tenantjobs:",
        "  tenantjobs.toml:2: adapter: no adapter is called 'dbb'; did you mean db?",
        "  tenantjobs.toml:3: unknown key 'tenantcy'; did you mean tenancy?",
        "  tenantjobs.toml:4: tenancy: 'requird' is none of required, optional, observe, none; did you mean required?",
        "  tenantjobs.toml:5: size_limit: expected int, got str: 'big'",
        "  tenantjobs.toml:6: name: expected str matching regex '^[A-Za-z0-9._-]+$': 'my shop'",
        "  tenantjobs.toml:7: app: 'shop.main:app' is no module; write its dotted name alone, as in 'shop.main'",
        "  tenantjobs.toml:8: a file cannot say this; call tenantjobs.configure(tenant=...)",
        "  tenantjobs.toml:11: unknown key 'leese' in [db]; did you mean lease?",
        "  tenantjobs.toml:12: db.lease: expected float, got str: 'soon'",
        "  tenantjobs.toml:13: db.synchronous: 'ful' is none of FULL, NORMAL; did you mean FULL?",
        "  tenantjobs.toml:16: drain.adapter: no adapter is called 'inlin'; did you mean inline?",
        "  tenantjobs.toml:18: unknown section [dbx]; did you mean db?",
        "  TENANTJOBS_ADAPTR: is no setting; did you mean TENANTJOBS_ADAPTER?",
        f"  configure(somewhere={{'app': ...}}): unknown section [somewhere]; known are {', '.join(known)}",
        "  TENANTJOBS_DB_MAX_DEATHS: expected int, got str: 'many'",
    ]


def test_mistakes_in_sections_are_left_to_the_adapter_while_all_else_is_right(folder: Path) -> None:
    write(folder, 'adapter = "db"\n[db]\nlease = "soon"\n')

    assert config.load().adapter == "db"
    assert config.resolve()[1] == ("tenantjobs.toml:3: db.lease: expected float, got str: 'soon'",)


def test_the_drain_is_a_section_of_its_own(folder: Path) -> None:
    write(folder, 'adapter = "inline"\n[drain]\nadapter = "test"\n')

    drain = config.load().drain

    assert drain is not None
    assert drain.adapter == "test"


def test_an_adapter_that_a_higher_layer_replaces_need_not_be_installed(folder: Path) -> None:
    write(folder, 'adapter = "somebody-elses"\n')

    with config.override(adapter="test"):
        assert config.load().adapter == "test"


def test_who_has_configured_nothing_is_told_what_to_write(folder: Path) -> None:
    message = config.nothing_configured()

    assert (
        f"there is no tenantjobs.toml, nor a pyproject.toml with [tool.tenantjobs], in {folder} or above it" in message
    )
    assert 'adapter = "db"' in message
    assert "tenantjobs init" in message
    assert "TENANTJOBS_ADAPTER" in message


def test_who_has_a_file_without_an_adapter_is_told_which(folder: Path) -> None:
    write(folder, 'app = "shop.main"\n')

    assert "tenantjobs.toml does not name one" in config.nothing_configured()
