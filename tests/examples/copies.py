"""Examples as a user would copy them, with names of their own on servers that others use too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from celery import Celery

from tests.services import AMQP, REDIS

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVERS = {"amqp://guest:guest@localhost:5672//": AMQP, "redis://localhost:6379/0": REDIS}


class Copy:
    """The files of an example in a folder of their own; ``names`` says what is called otherwise there."""

    def __init__(self, example: str, folder: Path, names: Mapping[str, str]) -> None:
        self.folder = Path(shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("__pycache__")))
        for path in (path for path in self.folder.iterdir() if path.is_file()):
            text = path.read_text()
            for name, other in {**SERVERS, **names}.items():
                text = text.replace(name, other)
            path.write_text(text)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in the folder: its first word is a module of Python, or a file there."""
        return subprocess.run(
            self.command(*command),
            cwd=self.folder,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, *command: str) -> list[str]:
        start = [] if command[0].endswith(".py") else ["-m"]
        return [sys.executable, *start, *command]

    def environment(self, **variables: str) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("TENANTJOBS_", "PYTEST"))
        }
        paths = os.pathsep.join(filter(None, sys.path))
        return {**inherited, "PYTHONPATH": paths, **variables}


def delete_queue(name: str) -> None:
    """Remove a queue from RabbitMQ."""
    with Celery(broker=AMQP, set_as_current=False).connection_for_write() as connection:
        connection.default_channel.queue_delete(name)
