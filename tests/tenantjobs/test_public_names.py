from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tenantjobs

SOURCE = Path(tenantjobs.__file__)


def names_for_type_checkers() -> set[str]:
    (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_what_type_checkers_see_is_what_is_public() -> None:
    assert names_for_type_checkers() == set(tenantjobs.__all__)


@pytest.mark.parametrize("name", tenantjobs.__all__)
def test_every_public_name_is_there_and_the_same_each_time(name: str) -> None:
    assert getattr(tenantjobs, name) is getattr(tenantjobs, name)
    assert name in dir(tenantjobs)


def test_no_module_shadows_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])}

    assert modules & set(tenantjobs.__all__) == set()


def test_modules_of_the_contract_are_reached_without_importing_them() -> None:
    code = "import tenantjobs; tenantjobs.testing.drain; tenantjobs.http.CurrentMiddleware"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="perform_latr"):
        tenantjobs.perform_latr  # type: ignore[attr-defined]  # the mistake under test


@pytest.mark.parametrize("statement", ["import tenantjobs", f"from tenantjobs import {', '.join(tenantjobs.__all__)}"])
def test_importing_brings_no_queue_no_database_no_terminal_and_no_loop(statement: str) -> None:
    heavy = {
        "sqlalchemy",
        "celery",
        "dramatiq",
        "rq",
        "rich",
        "click",
        "yaml",
        "asyncio",
        "tenantjobs_db",
        "opentelemetry",
    }
    code = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert heavy & set(loaded) == set()
