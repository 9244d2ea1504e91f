from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tenantjobs import config, definition
from tenantjobs.cli import main
from tests.configuration import Run, nothing_configured


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a project: nothing is configured in it, and no job is known."""
    before = dict(definition.registry)
    definition.registry.clear()
    with nothing_configured(tmp_path) as path:
        yield path
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture
def tenantjobs() -> Run:
    """Run the command in this process; the result, after looking at the exit code."""

    def run(*arguments: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments, prog_name="tenantjobs")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result

    return run


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a class of a test module known as an adapter, ``fake`` by default."""

    def install(adapter_class: type, name: str = "fake") -> None:
        monkeypatch.setitem(config.installed(), name, f"{adapter_class.__module__}:{adapter_class.__qualname__}")

    return install
