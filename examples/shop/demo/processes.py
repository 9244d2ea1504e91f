"""The processes of a run: started together, killed one by one on purpose, and all gone at the end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.shop.demo.broken import Broken

ROOT = Path(__file__).parents[3]
PATIENCE = 5.0  # seconds that a process has to end by itself


class Process:
    """A Python program that writes to a log of its own."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        listener: socket.socket | None = None,
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._log = folder / f"{name}.log"
        self._inherited = () if listener is None else (listener.fileno(),)
        self._running = self._start()

    @property
    def pid(self) -> int:
        return self._running.pid

    def kill_and_restart(self) -> None:
        """What a power cut does: nothing is caught, flushed or given back."""
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()
        self._running = self._start()

    def terminate(self) -> None:
        """Ask it to end."""
        self._running.terminate()

    def end(self) -> None:
        """Wait for its end, and insist on it."""
        try:
            self._running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    def require_alive(self) -> None:
        """``Broken`` with the end of its log if it has ended by itself."""
        code = self._running.poll()
        if code is not None:
            log = self._log.read_text(errors="replace").splitlines()[-30:]
            raise Broken("\n".join((f"{self.name} has ended with exit code {code}:", *log)))

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is for the conductor, who then stops the others.
            return subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._inherited,
                start_new_session=True,
            )


class Crew:
    """Starts processes, and stops all of them however the ``with`` ends."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.end()

    def run(self, name: str, module: str, *arguments: str, listener: socket.socket | None = None) -> Process:
        """Start ``python -m module arguments...``."""
        process = Process(name, ("-m", module, *arguments), self._environment, self._folder, listener)
        self._processes.append(process)
        return process

    def serve(self, name: str, module: str, *arguments: str) -> str:
        """Start ``python -m module DESCRIPTOR arguments...`` with a listening socket; its address."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.run(name, module, str(listener.fileno()), *arguments, listener=listener)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def require_alive(self) -> None:
        """``Broken`` if one of them has ended by itself."""
        for process in self._processes:
            process.require_alive()
