"""``tenantjobs work --reload``: the worker, started again whenever a source file changes. For development."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tenantjobs import signals

logger = logging.getLogger("tenantjobs.cli")

SUFFIXES = (".py", ".toml", ".yml", ".yaml")
LOOK = 0.5  # seconds between two looks at the files
STUBBORN = 10.0  # seconds beyond the shutdown timeout until a worker is killed


class Flag:
    """An event that a signal handler may set while its own thread looks at it."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        return self.value


class Reloader:
    """Runs ``command``, and runs it again after each change below ``folders``, until it is stopped."""

    def __init__(self, command: Sequence[str], folders: Sequence[Path], *, patience: float) -> None:
        self._command = command
        self._folders = folders
        self._patience = patience + STUBBORN
        self._stopped = Flag()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """The exit code of the last one."""
        with signals.obeyed(self), _watcher(self._folders, self._stopped) as changed:
            while True:
                self._process = subprocess.Popen(self._command, start_new_session=True)
                if self._stopped.is_set():  # while it was started
                    self._process.terminate()
                path = changed()
                if path is None:
                    return self._ended()
                logger.info("%s has changed: the worker is started again", path)
                self._process.terminate()
                self._ended()

    def stop(self) -> None:
        self._pass_on(signal.SIGTERM)

    def halt(self) -> None:
        self._pass_on(signals.HALT)

    def quiet(self) -> None:
        if self._process is not None and signals.QUIET is not None:
            self._process.send_signal(signals.QUIET)

    def _pass_on(self, number: signal.Signals | None) -> None:
        self._stopped.value = True
        if self._process is not None and number is not None:
            self._process.send_signal(number)

    def _ended(self) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return 128 - code if code < 0 else code


@contextmanager
def _watcher(folders: Sequence[Path], stopped: Flag) -> Iterator[Callable[[], Path | None]]:
    """What waits for the next change, and gives the file; None once it is stopped."""
    if find_spec("watchfiles") is not None:
        changes = import_module("watchfiles").watch(
            *folders, watch_filter=lambda _change, path: path.endswith(SUFFIXES), stop_event=stopped, step=50
        )
        yield lambda: _first(next(changes, None))
    else:
        seen = times(folders)

        def changed() -> Path | None:
            nonlocal seen
            while not stopped.is_set():
                time.sleep(LOOK)
                before, seen = seen, times(folders)
                if different := dict(before.items() ^ seen.items()):
                    return min(different)
            return None

        yield changed


def _first(changes: Any) -> Path | None:
    return Path(min(path for _, path in changes)) if changes else None


def times(folders: Sequence[Path]) -> dict[Path, int]:
    """When each source file below ``folders`` was changed. Virtual environments and hidden folders are left out."""
    found: dict[Path, int] = {}
    for folder in folders:
        for place, names, files in os.walk(folder):
            names[:] = [name for name in names if not _is_left_out(Path(place, name))]
            for path in (Path(place, name) for name in files if name.endswith(SUFFIXES)):
                try:
                    found[path] = path.stat().st_mtime_ns
                except FileNotFoundError:  # gone since it was listed
                    continue
    return found


def _is_left_out(folder: Path) -> bool:
    return (
        folder.name.startswith(".")
        or folder.name in ("node_modules", "__pycache__")
        or (folder / "pyvenv.cfg").is_file()
    )
