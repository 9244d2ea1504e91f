from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from tenantjobs import definition
from tenantjobs.cli import main
from tests.configuration import nothing_configured


class Run(Protocol):
    def __call__(self, *arguments: str, exit_code: int = 0) -> Result: ...


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a project: nothing is configured in it, and no job is known."""
    before = dict(definition.registry)
    definition.registry.clear()
    with nothing_configured(tmp_path) as path:
        yield path
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The logger of tenantjobs; its level, and the handlers of the root, are as before afterwards."""
    logger = logging.getLogger("tenantjobs")
    level = logger.level
    yield logger
    logger.setLevel(level)


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
def fake_adapter(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Install a class as the adapter ``fake``."""

    def install(adapter_class: type) -> None:
        monkeypatch.setitem(vars(adapter_class.__module__) if False else {}, "x", None)

    return install
