from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tenantjobs import config
from tests.configuration import Run, write


def test_init_writes_a_file_that_is_valid_and_uses_the_database_queue_on_sqlite(tenantjobs: Run, folder: Path) -> None:
    result = tenantjobs("init")

    settings = config.load()
    assert settings.adapter == "db"
    assert settings.sections == {"db": {"url": f"sqlite:///{folder}/jobs.db"}}
    assert settings.app is None
    assert "wrote tenantjobs.toml" in result.stdout


def test_the_file_explains_itself_in_80_columns(tenantjobs: Run, folder: Path) -> None:
    tenantjobs("init")

    text = (folder / "tenantjobs.toml").read_text()
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("#") >= 8


def test_init_says_the_next_steps(tenantjobs: Run) -> None:
    output = tenantjobs("init").stdout

    assert 'app = "shop.main"' in output
    assert "tenantjobs check" in output
    assert "tenantjobs work" in output


def test_the_app_is_written_and_then_no_step_any_more(tenantjobs: Run, folder: Path) -> None:
    output = tenantjobs("init", "--app", "shop.main").stdout

    assert tomllib.loads((folder / "tenantjobs.toml").read_text())["app"] == "shop.main"
    assert "app =" not in output


@pytest.mark.parametrize("arguments", [("init", "--adapter", "inline"), ("--adapter", "inline", "init")])
def test_another_adapter_can_be_asked_for(tenantjobs: Run, folder: Path, arguments: tuple[str, ...]) -> None:
    tenantjobs(*arguments)

    assert tomllib.loads((folder / "tenantjobs.toml").read_text()) == {"adapter": "inline", "tenancy": "required"}


def test_an_unknown_adapter_or_a_wrong_app_writes_nothing(tenantjobs: Run, folder: Path) -> None:
    assert "did you mean inline?" in tenantjobs("init", "--adapter", "inlin", exit_code=1).stderr
    assert "'shop.main:app' is no module" in tenantjobs("init", "--app", "shop.main:app", exit_code=1).stderr
    assert list(folder.iterdir()) == []


def test_a_file_that_is_there_is_kept_without_force(tenantjobs: Run, folder: Path) -> None:
    path = write(folder, "# mine\n")

    result = tenantjobs("init", exit_code=1)

    assert result.stderr == "error: tenantjobs.toml is there already; --force overwrites it\n"
    assert path.read_text() == "# mine\n"


def test_force_overwrites_even_a_broken_file(tenantjobs: Run, folder: Path) -> None:
    path = write(folder, "adapter = \n")

    tenantjobs("init", "--force")

    assert tomllib.loads(path.read_text())["adapter"] == "db"


def test_a_table_in_pyproject_is_not_replaced_without_force(tenantjobs: Run, folder: Path) -> None:
    write(folder, '[tool.tenantjobs]\nadapter = "inline"\n', "pyproject.toml")

    assert "[tool.tenantjobs]" in tenantjobs("init", exit_code=1).stderr
    assert not (folder / "tenantjobs.toml").exists()
    tenantjobs("init", "--force")
    assert (folder / "tenantjobs.toml").exists()


def test_check_is_content_with_what_init_wrote(tenantjobs: Run, folder: Path) -> None:
    write(folder, "import tenantjobs\n\n@tenantjobs.job\ndef note() -> None: ...\n", "my_jobs.py")
    tenantjobs("init", "--app", "my_jobs")

    assert "no problems" in tenantjobs("check").stdout
