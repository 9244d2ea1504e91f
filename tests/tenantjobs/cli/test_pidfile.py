from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tenantjobs.cli.pidfile import kept
from tenantjobs.errors import ConfigurationError

HOLDS = """
import sys, time
from pathlib import Path
from tenantjobs.cli.pidfile import kept
with kept(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_file_has_the_process_id_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "work.pid"

    with kept(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_without_a_file_nothing_is_kept() -> None:
    with kept(None):
        pass


def test_that_of_a_living_process_is_refused_and_that_of_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "work.pid"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"

    with pytest.raises(ConfigurationError, match=f"its process {holder.pid} is alive"), kept(path):
        raise AssertionError
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert path.read_text() == f"{holder.pid}\n"
    with kept(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_living_process_that_another_program_wrote_down_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "work.pid"
    path.write_text(f"{os.getppid()}\n")

    with pytest.raises(ConfigurationError, match="delete the file"), kept(path):
        raise AssertionError
    assert path.read_text() == f"{os.getppid()}\n"


def test_our_own_id_of_an_earlier_life_is_stale(tmp_path: Path) -> None:
    """In a container every start has the same id."""
    path = tmp_path / "work.pid"
    path.write_text(f"{os.getpid()}\n")

    with kept(path):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(("text", "message"), [("some notes", "no process id in it"), (None, "cannot be written")])
def test_a_file_that_is_no_pidfile_is_left_alone(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / ("work.pid" if text else "no/such/folder/work.pid")
    if text:
        path.write_text(text)

    with pytest.raises(ConfigurationError, match=message), kept(path):
        raise AssertionError
