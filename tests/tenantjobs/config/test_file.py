from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tenantjobs import config
from tenantjobs.errors import ConfigurationError
from tests.configuration import write


def test_a_file_in_the_working_directory_is_used_and_named(folder: Path) -> None:
    path = write(folder, 'adapter = "inline"\n')

    settings = config.load()

    assert settings.adapter == "inline"
    assert settings.file == str(path)
    assert str(settings.origins["adapter"]) == "tenantjobs.toml:1"


def test_a_file_above_the_working_directory_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder, 'adapter = "inline"\n')
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")

    settings = config.load()

    assert settings.file == str(path)
    assert str(settings.origins["adapter"]) == f"{path}:1"


def test_a_table_in_pyproject_is_a_configuration_file(folder: Path) -> None:
    write(
        folder,
        '[project]\nname = "shop"\n\n[tool.tenantjobs]\nadapter = "inline"\n[tool.tenantjobs.db]\nlease = 5\n',
        "pyproject.toml",
    )

    settings = config.load()

    assert settings.adapter == "inline"
    assert settings.sections == {"db": {"lease": 5}}
    assert str(settings.origins["db.lease"]) == "pyproject.toml:7"


def test_tenantjobs_toml_wins_over_pyproject_in_the_same_directory(folder: Path) -> None:
    write(folder, '[tool.tenantjobs]\nadapter = "test"\n', "pyproject.toml")
    write(folder, 'adapter = "inline"\n')

    assert config.load().adapter == "inline"


def test_a_pyproject_without_our_table_does_not_end_the_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'adapter = "inline"\n')
    write(folder, '[project]\ndependencies = ["tenantjobs"]\n', "package/pyproject.toml")
    monkeypatch.chdir(folder / "package")

    assert config.load().adapter == "inline"


def test_a_broken_pyproject_that_does_not_speak_of_us_is_left_alone(folder: Path) -> None:
    write(folder, "[project\n", "pyproject.toml")

    assert config.load().adapter is None


def test_a_variable_names_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'adapter = "inline"\n')
    path = write(folder, 'adapter = "test"\n', "other/settings.toml")
    monkeypatch.setenv("TENANTJOBS_CONFIG", "other/settings.toml")

    settings = config.load()

    assert settings.adapter == "test"
    assert settings.file == str(path)


def test_the_command_line_names_the_file_before_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'adapter = "inline"\n', "one.toml")
    write(folder, 'adapter = "test"\n', "two.toml")
    monkeypatch.setenv("TENANTJOBS_CONFIG", "one.toml")

    config.command_line(file="two.toml")

    assert config.load().adapter == "test"


def test_a_file_that_is_named_and_not_there_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENANTJOBS_CONFIG", "nowhere.toml")

    with pytest.raises(ConfigurationError, match=r"TENANTJOBS_CONFIG: there is no file nowhere\.toml"):
        config.load()


def test_a_pyproject_that_is_named_needs_our_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "[project]\n", "pyproject.toml")
    monkeypatch.setenv("TENANTJOBS_CONFIG", "pyproject.toml")

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml: has no table \[tool\.tenantjobs\]"):
        config.load()


def test_invalid_toml_is_an_error_with_its_line(folder: Path) -> None:
    write(folder, 'adapter = "db"\napp = shop.main\n')

    with pytest.raises(ConfigurationError, match=r"tenantjobs\.toml:2: is not valid TOML: Invalid value"):
        config.load()


def test_a_key_that_is_written_twice_is_an_error_with_its_line(folder: Path) -> None:
    write(folder, 'adapter = "db"\nadapter = "inline"\n')

    with pytest.raises(ConfigurationError, match=r"tenantjobs\.toml:2: .*overwrite"):
        config.load()


def test_a_file_that_is_no_text_is_an_error(folder: Path) -> None:
    (folder / "tenantjobs.toml").write_bytes(b"adapter = '\xff'")

    with pytest.raises(ConfigurationError, match=r"tenantjobs\.toml: is not UTF-8 text"):
        config.load()


def test_a_file_that_may_not_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "no")  # root, who may run this, reads everything

    write(folder, "")
    monkeypatch.setattr(Path, "read_text", refuse)

    with pytest.raises(ConfigurationError, match=r"tenantjobs\.toml: cannot be read: Permission denied"):
        config.load()


def test_a_working_directory_that_is_gone_has_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "old_release").mkdir()
    monkeypatch.chdir(folder / "old_release")
    (folder / "old_release").rmdir()

    assert config.load().file is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sqlite:///jobs.db", "sqlite:///{folder}/jobs.db"),
        ("sqlite:///data/jobs.db?timeout=5", "sqlite:///{folder}/data/jobs.db?timeout=5"),
        ("sqlite+aiosqlite:///jobs.db", "sqlite+aiosqlite:///{folder}/jobs.db"),
        ("sqlite:////var/jobs.db", "sqlite:////var/jobs.db"),
        ("sqlite:///C:/jobs.db", "sqlite:///C:/jobs.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:jobs.db?uri=true", "sqlite:///file:jobs.db?uri=true"),
        ("sqlite://", "sqlite://"),
        ("postgresql+psycopg://localhost/shop", "postgresql+psycopg://localhost/shop"),
        ("shop.db:engine", "shop.db:engine"),
    ],
)
def test_the_path_of_an_sqlite_database_is_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    write(folder, f'[db]\nurl = "{written}"\n')
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")

    assert config.load().sections["db"]["url"] == read.format(folder=folder)


def test_a_url_from_elsewhere_than_a_file_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_DB_URL", "sqlite:///jobs.db")

    assert config.load().sections["db"]["url"] == "sqlite:///jobs.db"


def test_other_files_lie_beside_it_or_else_in_the_working_directory(folder: Path) -> None:
    assert config.load().located("config/queue.yml") == folder / "config/queue.yml"
    settings = config.Settings(file="/etc/shop/tenantjobs.toml")
    assert settings.located("config/queue.yml") == Path("/etc/shop/config/queue.yml")
