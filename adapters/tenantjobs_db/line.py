"""The line between a supervisor and a process that it has started: each notices at once when the other is gone."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

logger = logging.getLogger("tenantjobs.db")

RETIRING = b"r"  # what a worker says that wants to be replaced


class Line:
    """The end of the process."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # what a job starts must not hold the line
        self._socket = socket.socket(fileno=descriptor)

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the supervisor is gone, however it went."""
        threading.Thread(target=self._wait, args=(on_gone,), name="tenantjobs-line", daemon=True).start()

    def retire(self) -> None:
        """Ask for a replacement."""
        try:
            self._socket.send(RETIRING)
        except OSError as error:
            logger.warning("the supervisor could not be asked for a replacement: %s", error)

    def _wait(self, on_gone: Callable[[], object]) -> None:
        try:
            self._socket.recv(1)
        except OSError as error:
            logger.warning("the line to the supervisor is broken: %s", error)
        logger.warning("the supervisor is gone: this process finishes what runs, and stops")
        on_gone()
