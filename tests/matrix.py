"""``make matrix``: the suite on the oldest and the newest supported libraries, each in an environment of its own.

What it comes to is a table of ``docs/adapters.md``. ``python -m tests.matrix oldest`` is one column.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from tests.adapters_page.plugin import NOWHERE, RECORD
from tests.adapters_page.rendering import PAGE, render
from tests.adapters_page.results import KIT, LIBRARIES, MATRIX, Environment, read_kit, read_matrix, write

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venvs"
PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"
VERSIONS = """
import json, platform, sys
from importlib import metadata
print(json.dumps({"python": platform.python_version(), **{name: metadata.version(name) for name in sys.argv[1:]}}))
"""
IN_COMPANY = ("-n", os.environ.get("TESTERS", "4"), "--dist", "worksteal")
# What was too slow in that company, or met what another test has left in its process, has to pass alone.
ALONE = ("--last-failed", "--last-failed-no-failures", "none")
# Neither what has no library in it, nor the crash and race tests, which try the databases and take most of the time.
NOT_RUN = (
    "-m",
    "not slow",
    "--continue-on-collection-errors",
    "--ignore=tests/examples",
    "--ignore=tests/typing",
    "--ignore=tests/docs",
)


class Column(msgspec.Struct, frozen=True):
    """One environment: an interpreter, and libraries pinned to a version (none: the newest)."""

    name: str
    python: str
    pins: tuple[str, ...] = ()
    options: tuple[str, ...] = ()  # of pytest


OLDEST = Column(
    "oldest",
    "python3.11",
    (
        "msgspec==0.19.0",
        "click==8.2.0",
        "PyYAML==6.0.2",
        "cronsim==2.7",
        "rich==13.7.0",
        "sqlalchemy==2.0.36",
        "psycopg[binary]==3.2.1",
        "celery==5.4.0",
        "kombu==5.3.4",
        "dramatiq==1.17.0",
        "rq==2.0.0",
        "redis==5.0.1",
        "opentelemetry-api==1.30.0",
        "opentelemetry-sdk==1.30.0",
        "pymysql==1.1.0",
        "setproctitle==1.3",
        "watchfiles==1",
        "prometheus-client==0.20.0",
        "cryptography==42.0.0",
    ),
    # The oldest clients leave connections to be collected, in the middle of whatever test comes later.
    ("-W", "ignore:unclosed <socket:ResourceWarning"),
)
NEWEST_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


def main(names: Sequence[str]) -> int:
    """One after the other; what each has come to is written down at once, whatever becomes of the others."""
    columns = {column.name: column for column in (OLDEST, Column("newest", _newest_python()))}
    if unknown := set(names) - set(columns):
        sys.exit(f"there is no column {', '.join(sorted(unknown))}: {', '.join(columns)}")
    results = read_matrix()
    for name in names or list(columns):
        results[name] = _run(columns[name])
        write(MATRIX, {each: results[each] for each in columns if each in results})
        if KIT.exists():  # at once: the suite of the next column holds the page against it
            PAGE.write_text(render(read_kit(), read_matrix()), encoding="utf-8")
        print(f"{name}: {results[name].outcome}", *results[name].failed, sep="\n  ", flush=True)
    return int(any(results[name].outcome != PASSED for name in names or columns))


def _newest_python() -> str:
    return next((python for python in NEWEST_PYTHONS if _interpreter(python)), "python3")


def _run(column: Column) -> Environment:
    interpreter = _interpreter(column.python)
    if interpreter is None:
        return Environment(column.python, {}, "not run: this Python is not here")
    folder = ENVIRONMENTS / column.name
    python = str(folder / "bin" / "python")
    pins = ", ".join(column.pins) or "the newest of everything"
    print(f"{column.name}: {column.python}, {pins}", flush=True)
    try:
        _command(interpreter, "-m", "venv", "--clear", str(folder))
        _command(python, "-m", "pip", "install", "-q", "-U", "pip>=25.1")
        _command(python, "-m", "pip", "install", "-q", "-e", ".[all]", "--group", "test", *column.pins)
    except subprocess.CalledProcessError as error:
        return Environment(column.python, {}, f"not run: {error.cmd[3:5]} failed ({error.returncode})")
    return _described(
        python,
        _suite(folder, "company", (*IN_COMPANY, *column.options)),
        lambda: _suite(folder, "alone", (*ALONE, *column.options)),
    )


def _suite(folder: Path, name: str, options: Sequence[str]) -> dict[str, str]:
    """What has become of each test in the environment that is in ``folder``."""
    report = folder / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [str(folder / "bin" / "python"), "-m", "pytest", "-q", *options, *NOT_RUN, f"--junitxml={report}"]
    # The page tells what the kit finds on the newest versions: on others it is not held against it.
    environment = {**os.environ, RECORD: NOWHERE, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([*command, "-o", f"cache_dir={folder / 'cache'}"], check=False, cwd=ROOT, env=environment)
    return _outcomes(report)


def _outcomes(report: Path) -> dict[str, str]:
    """What has become of each test, from the report that pytest leaves; nothing where it left none."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ():
        name = f"{case.get('classname')}::{case.get('name')}"
        tags = {child.tag for child in case}
        outcome = FAILED if tags & {"failure", "error"} else SKIPPED if "skipped" in tags else PASSED
        found[name] = FAILED if found.get(name) == FAILED else outcome
    return found


def _described(python: str, company: dict[str, str], alone: Callable[[], dict[str, str]]) -> Environment:
    """The column. What has failed in the company of others counts as failed unless it passes alone."""
    versions = json.loads(_command(python, "-c", VERSIONS, *LIBRARIES))
    number = versions.pop("python")
    if not company:
        return Environment(number, versions, "the suite did not come to its end")
    suspects = sorted(name for name, outcome in company.items() if outcome == FAILED)
    again = alone() if suspects else {}
    failed = [name for name in suspects if again.get(name) != PASSED]
    passed_alone = [name for name in suspects if again.get(name) == PASSED]
    counts = Counter(company.values())
    return Environment(
        number,
        versions,
        f"{len(failed)} failed" if failed else PASSED,
        passed=counts[PASSED] + len(passed_alone),
        skipped=counts[SKIPPED],
        failed=failed,
        passed_alone=passed_alone,
    )


def _command(*command: str) -> str:
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


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
    sys.exit(main(sys.argv[1:]))
