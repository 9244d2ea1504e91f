"""The page about adapters is followed to the letter, by a project that has the wheel and not the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.docs.test_pages import ROOT, walk

PAGE = ROOT / "docs" / "write-an-adapter.md"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Those of a virtual environment with the wheel in it; what else it needs is that of the tests, from no index."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    # What is installed here as the checkout, is not installed for those who only look into this folder.
    libraries = sysconfig.get_path("purelib")
    given = {name: value for name, value in os.environ.items() if not name.startswith(("TENANTJOBS_", "PYTEST"))}
    given |= {
        "PATH": f"{folder / 'bin'}{os.pathsep}{given['PATH']}",
        "PYTHONPATH": libraries,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip is told not to isolate
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    wheels = tmp_path / "wheels"
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=ROOT)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(["pip", "install", "-q", "--force-reinstall", str(wheel)], env=given, check=True)
    return given


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_project_of_its_own_passes_the_kit(tmp_path: Path, environment: dict[str, str]) -> None:
    project = tmp_path / "folderqueue"
    project.mkdir()

    walk(PAGE, project, environment)

    where = "import tenantjobs, tenantjobs_db, folderqueue; print(tenantjobs.__file__, tenantjobs_db.__file__)"
    used = subprocess.run(
        ["python", "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(tmp_path / "venv")) for path in used.stdout.split()), used.stdout


def test_the_adapter_is_as_short_as_the_page_says() -> None:
    harness = PAGE.read_text().split("```python test_folderqueue.py\n")[1].split("```")[0]

    assert len(harness.splitlines()) <= 15


def _python(*arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, *arguments], cwd=cwd, check=True, capture_output=True)
