"""A process as its supervisor sees it."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Sequence

from tenantjobs import signals
from tenantjobs_db.assignment import Assignment
from tenantjobs_db.line import RETIRING
from tenantjobs_db.plan import Post


class Child:
    """A fresh interpreter that runs ``command`` with its assignment: nothing is forked, so nothing is shared."""

    def __init__(self, command: Sequence[str], post: Post, process: str, *, shutdown_timeout: float) -> None:
        self.post = post
        self.process = process
        self.started_at = time.monotonic()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        assignment = Assignment(
            process=self.process,
            line=theirs.fileno(),
            shutdown_timeout=shutdown_timeout,
            post=post,
        )
        try:
            with signals.blocked():  # told to stop before it can listen, it does so when it can
                # In a session of its own: Ctrl-C reaches the whole group, and would reach it a second time through us.
                self._popen = subprocess.Popen(
                    [*command, assignment.encode()], pass_fds=[theirs.fileno()], start_new_session=True
                )
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started_at

    def ended(self) -> int | None:
        """Its exit code, less than zero for a signal; None while it lives."""
        code = self._popen.poll()
        if code is not None:
            self._line.close()
        return code

    def wants_replacement(self) -> bool:
        """True if it has said so since the last time."""
        try:
            return self._line.recv(1) == RETIRING
        except OSError:  # nothing was said
            return False

    def tell(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        self._popen.kill()

    def __str__(self) -> str:
        return f"{self.post.kind} {self.pid}"
