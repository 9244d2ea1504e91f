"""``make matrix``: the suite on the oldest and the newest supported libraries, each in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venvs"
PARALLEL = ("-n", "4", "--dist", "worksteal")
SUITE = ("-q", *PARALLEL, "--ignore=tests/examples", "--ignore=tests/typing", "--ignore=tests/docs")


class Column(msgspec.Struct, frozen=True):
    """One environment: an interpreter, and libraries pinned to a version (none: the newest)."""

    name: str
    python: str
    pins: tuple[str, ...] = ()


OLDEST = Column(
    "oldest",
    "python3.11",
    (
        "msgspec==0.19.0",
        "click==8.2.0",
        "PyYAML==6.0.2",
        "cronsim==2.6",
        "sqlalchemy==2.0.36",
        "psycopg[binary]==3.2.1",
        "celery==5.4.0",
        "dramatiq==2.2.0",
        "rq==2.0.0",
    ),
)
NEWEST_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


def main() -> int:
    newest = next((python for python in NEWEST_PYTHONS if _interpreter(python)), "python3")
    columns = [column for column in (OLDEST, Column("newest", newest)) if sys.argv[1:] in ([], [column.name])]
    results = {column.name: _run(column) for column in columns}
    for name, result in results.items():
        print(f"{name:8} {result}")
    return int(any(result != "passed" for result in results.values()))


def _run(column: Column) -> str:
    interpreter = _interpreter(column.python)
    if interpreter is None:
        return f"not run: there is no {column.python} here"
    python = str(ENVIRONMENTS / column.name / "bin" / "python")
    subprocess.run([interpreter, "-m", "venv", "--clear", str(ENVIRONMENTS / column.name)], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-U", "pip>=25.1"], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-e", ".[all]", "--group", "test", *column.pins], check=True, cwd=ROOT
    )
    print(f"{column.name}: {column.python}, {', '.join(column.pins) or 'the newest of everything'}", flush=True)
    suite = subprocess.run([python, "-m", "pytest", *SUITE], check=False, cwd=ROOT)
    return "passed" if suite.returncode == 0 else f"failed (exit code {suite.returncode})"


def _interpreter(name: str) -> str | None:
    """Where the interpreter is: on the path, or among those of pyenv."""
    found = shutil.which(name)
    if found is not None and _starts(found):
        return found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    number = name.removeprefix("python")
    installed = sorted(versions.glob(f"{number}.*/bin/python"))
    return str(installed[-1]) if installed else None


def _starts(interpreter: str) -> bool:
    # A shim of pyenv is on the path also where its version is not switched on.
    return subprocess.run([interpreter, "-c", ""], check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
