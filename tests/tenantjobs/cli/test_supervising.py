from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tenantjobs.cli.supervising import supervise

WAITS = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path({name!r}).write_text("stopped")
    sys.exit({code})
signal.signal(signal.SIGTERM, stop)
pathlib.Path({name!r}).write_text("started")
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def waiting(path: Path, code: int = 0) -> list[str]:
    return python(WAITS.format(name=str(path), code=code))


@pytest.fixture
def once() -> Callable[[Callable[[], bool], signal.Signals], threading.Thread]:
    """Send this process a signal as soon as a condition holds."""

    def start(condition: Callable[[], bool], number: signal.Signals) -> threading.Thread:
        def wait() -> None:
            while not condition():
                time.sleep(0.02)
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    return start


def test_the_exit_code_is_the_first_that_is_not_0() -> None:
    commands = {"a": python(""), "b": python("raise SystemExit(3)"), "c": python("")}

    assert supervise(commands, drain=True) == 3


def test_one_that_has_nothing_left_to_do_lets_the_others_finish(tmp_path: Path) -> None:
    slow = python(f"import time, pathlib; time.sleep(0.5); pathlib.Path({str(tmp_path / 'done')!r}).touch()")

    assert supervise({"quick": python(""), "slow": slow}, drain=True) == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(("drain", "code"), [(False, 0), (True, 3), (False, 3)])
def test_one_that_ends_unasked_takes_the_others_with_it(tmp_path: Path, drain: bool, code: int) -> None:
    other = tmp_path / "other"
    ends = python(
        f"import pathlib, time\nwhile not pathlib.Path({str(other)!r}).exists(): time.sleep(0.02)\nexit({code})"
    )

    assert supervise({"other": waiting(other), "ends": ends}, drain=drain) == code
    assert other.read_text() == "stopped"


def test_one_that_is_killed_gives_the_code_that_a_shell_would_give(tmp_path: Path) -> None:
    killed = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert supervise({"killed": killed}, drain=False) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_waits_for_them(tmp_path: Path, once: Callable[..., object], number: int) -> None:
    paths = {"a": tmp_path / "a", "b": tmp_path / "b"}
    before = signal.getsignal(signal.SIGTERM)
    once(lambda: all(path.exists() for path in paths.values()), number)

    assert supervise({name: waiting(path) for name, path in paths.items()}, drain=False) == 0
    assert [path.read_text() for path in paths.values()] == ["stopped", "stopped"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_cannot_be_started_leaves_none_alone() -> None:
    before = psutil.Process().children()

    with pytest.raises(FileNotFoundError):
        supervise({"a": python("import time; time.sleep(60)"), "b": ["/nowhere"]}, drain=False)

    assert psutil.Process().children() == before
