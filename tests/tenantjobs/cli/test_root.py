from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tenantjobs as package
from tests.configuration import Run, write


def test_help_shows_every_command_in_80_columns(tenantjobs: Run) -> None:
    output = tenantjobs("--help").stdout

    assert all(f"\n  {name} " in output for name in ("init", "check", "work", "db"))
    assert max(map(len, output.splitlines())) <= 80


def test_help_of_each_command_fits_80_columns(tenantjobs: Run) -> None:
    for command in ("init", "check", "work", "db", "db upgrade", "db status", "db sql"):
        output = tenantjobs(*command.split(), "-h").stdout

        assert max(map(len, output.splitlines())) <= 80


def test_the_version_is_printed(tenantjobs: Run) -> None:
    assert tenantjobs("--version").stdout == f"tenantjobs {package.__version__}\n"


def test_a_misspelt_command_is_wrong_usage_with_the_nearest_name(tenantjobs: Run) -> None:
    result = tenantjobs("wrok", exit_code=2)

    assert "there is no command 'wrok'; did you mean work?" in result.stderr


def test_a_configuration_file_that_is_not_there_is_wrong_usage(tenantjobs: Run) -> None:
    assert "'nowhere.toml' does not exist" in tenantjobs("-c", "nowhere.toml", "check", exit_code=2).stderr


def test_the_configuration_file_can_be_chosen(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "inline"\n', "deploy/other.toml")

    assert "deploy/other.toml:1" in tenantjobs("-c", "deploy/other.toml", "check").stdout


def test_the_adapter_of_the_command_line_wins(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "db"\n')

    assert "--adapter" in tenantjobs("--adapter", "inline", "check").stdout


def test_an_error_is_one_message_on_stderr_without_a_traceback(tenantjobs: Run, folder: Path) -> None:
    write(folder, "adapter = 1\ntenancy = 2\n")

    result = tenantjobs("work", exit_code=1)

    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: 2 mistakes in the configuration of tenantjobs:",
        "  tenantjobs.toml:1: adapter: expected str | null, got int: 1",
        "  tenantjobs.toml:2: tenancy: expected str, got int: 2",
    ]


def test_the_working_directory_is_on_the_path_of_modules(tenantjobs: Run, folder: Path) -> None:
    write(folder, "", "my_jobs.py")
    write(folder, 'adapter = "inline"\napp = "my_jobs"\n')

    assert "no problems" in tenantjobs("check").stdout


def test_help_loads_no_database_no_terminal_library_and_no_event_loop() -> None:
    code = (
        "import sys\n"
        "from tenantjobs.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'sqlalchemy', 'rich', 'asyncio', 'yaml', 'tomllib', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_script_and_the_module_are_the_same_command(folder: Path) -> None:
    script = [str(Path(sys.executable).with_name("tenantjobs"))]
    module = [sys.executable, "-m", "tenantjobs.cli"]

    outputs = [
        subprocess.run([*start, "check"], cwd=folder, capture_output=True, text=True) for start in (script, module)
    ]

    assert [done.returncode for done in outputs] == [1, 1]
    assert outputs[0].stdout == outputs[1].stdout
    assert "no adapter is configured" in outputs[0].stdout
