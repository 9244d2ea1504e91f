from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenantjobs.cli import reloading
from tenantjobs.cli.reloading import Reloader, times

NOTES = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with pathlib.Path("runs.txt").open("a") as runs:
    runs.write(pathlib.Path("source.py").read_text() + "\\n")
time.sleep(60)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("library", [True, False], ids=["watchfiles", "polling"])
def test_the_command_is_run_again_after_each_change_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if not library:
        monkeypatch.setattr(reloading, "find_spec", lambda name: None)
        monkeypatch.setattr(reloading, "LOOK", 0.05)
    runs, source = tmp_path / "runs.txt", tmp_path / "source.py"
    source.write_text("one")
    reloader = Reloader([sys.executable, "-c", NOTES], [tmp_path], patience=5)
    codes: list[Any] = []
    thread = threading.Thread(target=lambda: codes.append(reloader.run()))
    thread.start()
    wait_for(lambda: runs.exists() and runs.read_text() == "one\n")

    time.sleep(0.2)  # the watcher tells nobody when it has begun
    source.write_text("two")
    wait_for(lambda: runs.read_text() == "one\ntwo\n")
    reloader.stop()
    thread.join(20)

    assert codes == [0]


def test_sources_are_watched_and_what_others_have_made_is_not(tmp_path: Path) -> None:
    for name in ("a.py", "b.toml", "config/queue.yml", "notes.txt", ".git/c.py", "venv/d.py", "__pycache__/e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()

    assert {str(path.relative_to(tmp_path)) for path in times([tmp_path])} == {
        "a.py",
        "b.toml",
        os.path.join("config", "queue.yml"),
    }
