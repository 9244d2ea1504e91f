"""The unit for systemd on the page is one that systemd understands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: install systemd")
def test_systemd_finds_nothing_wrong_with_the_unit_of_the_page(tmp_path: Path) -> None:
    (unit,) = re.findall(r"^```ini\n(\[Unit\].*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    there = unit.replace("/srv/shop/.venv/bin/tenantjobs", sys.executable).replace("/srv/shop", str(tmp_path))
    file = tmp_path / "tenantjobs.service"
    file.write_text(there)

    told = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60, check=False)

    assert [line for line in (told.stdout + told.stderr).splitlines() if file.name in line] == []
