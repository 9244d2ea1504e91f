"""``python -m tests.adapters_page``: run the kit on every queue, record it, and write the page.

``python -m tests.adapters_page "celery on Redis" rq`` runs it on these, and ``--render`` writes the page from what is
recorded.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tests.adapters_page.plugin import RECORD
from tests.adapters_page.rendering import PAGE, render
from tests.adapters_page.results import COLUMNS, KIT, LIBRARIES, Kit, read_kit, read_matrix, write


def main(arguments: Sequence[str]) -> int:
    code = 0 if arguments == ["--render"] else _measure(arguments or list(COLUMNS))
    if code == 0:
        PAGE.write_text(render(read_kit(), read_matrix()), encoding="utf-8")
    return code


def _measure(names: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kit.json"
        environment = {**os.environ, RECORD: str(path), "TENANTJOBS_REQUIRE_SERVICES": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "4", *(COLUMNS[name] for name in names)]
        code = subprocess.run(command, env=environment, check=False).returncode
        if code == 0:
            _keep(read_kit(path))
    return code


def _keep(measured: Kit) -> None:
    before = read_kit().columns if KIT.exists() else {}
    for column in measured.columns.values():
        column.cases = dict(sorted(column.cases.items()))  # they end in whatever order
    known = {**before, **measured.columns}
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}
    write(KIT, Kit(versions, {name: known[name] for name in COLUMNS if name in known}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
