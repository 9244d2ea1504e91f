"""A file with the id of the process that works, so that only one does."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tenantjobs.errors import ConfigurationError

logger = logging.getLogger("tenantjobs.cli")


@contextmanager
def kept(path: Path | None) -> Iterator[None]:
    """Hold the file while the block runs. One whose process is dead is taken over, that of a living one is refused."""
    if path is None:
        yield
        return
    with _locked(path) as file:
        _look(path, file.read())
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[Any]:
    fcntl: Any = import_module("fcntl")  # Windows has none
    try:
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise ConfigurationError(f"--pidfile {path} cannot be written: {os.strerror(error.errno or 0)}") from error
    with file:
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _refusal(path, file.read().strip()) from error
        yield file


def _look(path: Path, text: str) -> None:
    number = text.strip()
    if not number:
        return
    if not number.isdecimal():
        raise ConfigurationError(f"--pidfile {path} is there, and has no process id in it: name another file")
    if int(number) != os.getpid() and _is_alive(int(number)):
        raise _refusal(path, number)
    logger.info("%s is stale: its process %s is dead", path, number)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(path: Path, number: str) -> ConfigurationError:
    return ConfigurationError(
        f"--pidfile {path}: its process {number} is alive: stop that one first, or delete the file if it is another "
        f"program's by now"
    )
