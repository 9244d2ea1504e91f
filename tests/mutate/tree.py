"""A copy of the tree, in which one file at a time is a mutant, and its tests are run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("tenantjobs", "adapters", "tests", "examples", "docs", "pyproject.toml", "README.md")
AT_LEAST = 20.0  # seconds that tests may take, however quick they are without a mutant


class Ran(NamedTuple):
    passed: bool
    seconds: float


class Tree:
    """Where mutants are run."""

    def __init__(self, folder: Path, server: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._server = server

    def run(self, tests: Sequence[str], seconds: float = 600.0, *, keep: bool = False) -> Ran:
        """Run ``tests`` until the first one fails. ``keep`` keeps what was compiled for the next runs."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"tests": list(tests), "seconds": seconds, "keep": keep}) + "\n")
        self._server.stdin.flush()
        return Ran(**json.loads(self._server.stdout.readline()))

    def said(self) -> str:
        """What the last run has printed."""
        return (self.folder / "last-run.txt").read_text(errors="replace")

    @contextmanager
    def changed(self, path: str, source: str) -> Iterator[None]:
        """``source`` in the place of a file."""
        file = self.folder / path
        original, times = file.read_bytes(), file.stat()
        try:
            file.write_text(source)
            # Of a time of its own: what was compiled of the original is not taken for it.
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns - 3_600_000_000_000))
            yield
        finally:
            file.write_bytes(original)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextmanager
def copied() -> Iterator[Tree]:
    """A copy that is there until the end of the block."""
    with TemporaryDirectory(prefix="mutate") as name:
        folder = Path(name)
        for part in COPIED:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / part, folder / part)
        path = os.pathsep.join([str(folder), str(folder / "adapters")])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-m", "tests.mutate.server"]
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                yield Tree(folder, server)
            finally:
                assert server.stdin is not None
                server.stdin.close()
