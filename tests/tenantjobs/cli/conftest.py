from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tenantjobs import config, definition
from tenantjobs.cli import main
from tests.configuration import Run, nothing_configured, write

SHOP = """
import sqlalchemy
from tenantjobs import current_job, job, limits_concurrency, retry_on

engine = sqlalchemy.create_engine("sqlite:///shop.db")

@job(name="render", policies=[limits_concurrency(to=1), retry_on(ConnectionError, wait=3600)])
def render(account: int) -> None:
    current_job().progress(3, 12)
    if account == 7:
        raise ConnectionError("the renderer is away")
    if account == 13:
        raise ValueError("no such account")
"""


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


@pytest.fixture
def render(folder: Path, tenantjobs: Run) -> Any:
    """A job of an application with a queue, in the scope of a tenant."""
    write(folder, SHOP, "shop_of_jobs.py")
    write(folder, 'adapter = "db"\napp = "shop_of_jobs"\n[db]\nengine = "shop_of_jobs:engine"\n')
    tenantjobs("db", "upgrade")
    return import_module("shop_of_jobs").render
