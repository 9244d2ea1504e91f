"""The samples beside this file, read by both type checkers: what is right passes, each marked line is an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SAMPLES = sorted(path.name for path in HERE.glob("*_ok.py")) + sorted(path.name for path in HERE.glob("*_errors.py"))
CHECKERS = ("mypy", "pyright")


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.timeout(300)
def test_a_checker_reports_exactly_the_marked_lines(sample: str, checker: str) -> None:
    text = (HERE / sample).read_text().splitlines()
    marked = {number for number, line in enumerate(text, 1) if _marks(line, checker)}

    reported = {line: message for file, line, message in _errors(checker) if file == sample}

    assert marked == set(reported), {line: message for line, message in reported.items() if line not in marked}


def _marks(line: str, checker: str) -> bool:
    match = re.search(r"# error(?:: (?P<checkers>[\w, ]+))?$", line)
    return match is not None and (match["checkers"] is None or checker in match["checkers"])


@cache
def _errors(checker: str) -> tuple[tuple[str, int, str], ...]:
    return _mypy() if checker == "mypy" else _pyright()


def _mypy() -> tuple[tuple[str, int, str], ...]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    result = subprocess.run([*command, str(HERE)], cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(r"^(?:.*/)?([\w]+\.py):(\d+): error: (.*)$", result.stdout, re.MULTILINE)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return tuple((file, int(line), message) for file, line, message in found)


def _pyright() -> tuple[tuple[str, int, str], ...]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    files = [str(HERE / sample) for sample in SAMPLES]
    result = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(SAMPLES), result.stderr
    return tuple(
        (Path(entry["file"]).name, entry["range"]["start"]["line"] + 1, entry["message"])
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error"
    )
