"""The configuration file: ``tenantjobs.toml``, or ``[tool.tenantjobs]`` in ``pyproject.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tenantjobs.config import environ
from tenantjobs.config.lines import Key, lines_of_keys
from tenantjobs.config.mistakes import Misconfigured
from tenantjobs.config.settings import NOTHING, Origin

NAME = "tenantjobs.toml"
PYPROJECT = "pyproject.toml"
TABLE = ("tool", "tenantjobs")

# A database beside the file: three slashes and neither an absolute path, a drive, a URI nor memory after them.
_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?![/\\]|[A-Za-z]:[/\\]|file:|:memory:)(.+)", re.DOTALL)


class File(msgspec.Struct, frozen=True):
    """A configuration file that was read."""

    path: Path
    values: Mapping[str, Any] = NOTHING
    lines: Mapping[Key, int] = NOTHING

    def origin(self, *key: str) -> Origin:
        """Where ``key`` stands, or the table that it stands in."""
        while key and key not in self.lines:
            key = key[:-1]
        line = self.lines[key] if key else None
        return Origin(displayed(self.path), line=line, directory=str(self.path.parent))


def chosen(path: str | os.PathLike[str] | None, named: str | None) -> File | None:
    """The file of the command line, else the one that ``TENANTJOBS_CONFIG`` names, else the nearest one."""
    if path is not None:
        return read(Path(path).absolute())
    if named:
        return read(Path(named).absolute(), named_by=environ.FILE)
    try:
        return find(Path.cwd())
    except FileNotFoundError:
        return None  # the working directory itself is gone, as that of an old release may be


def find(start: Path) -> File | None:
    """The nearest file from ``start`` upwards; in one directory, ``tenantjobs.toml`` comes first."""
    for directory in (start, *start.parents):
        path = directory / NAME
        if path.is_file():
            return read(path)
        path = directory / PYPROJECT
        if path.is_file() and (found := _pyproject(path)) is not None:
            return found
    return None


def read(path: Path, *, named_by: str = "--config") -> File:
    """The file at ``path``, which ``named_by`` has asked for; ``Misconfigured`` if it cannot be read."""
    if not path.is_file():
        raise Misconfigured([f"{named_by}: there is no file {displayed(path)}"])
    if path.name == PYPROJECT:
        found = _pyproject(path)
        if found is None:
            raise Misconfigured([f"{displayed(path)}: has no table [tool.tenantjobs]"])
        return found
    text = _text(path)
    return File(path, _parse(path, text), lines_of_keys(text))


def displayed(path: Path) -> str:
    """``path`` as a message shows it: relative below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def beside(directory: str, value: Any) -> Any:
    """``value``, made absolute if it is the URL of an SQLite database at a relative path."""
    if isinstance(value, str) and (match := _RELATIVE_SQLITE.fullmatch(value)):
        return match[1] + Path(directory, match[2]).as_posix()
    return value


def _pyproject(path: Path) -> File | None:
    text = _text(path)
    if "tenantjobs" not in text:
        return None
    values: Any = _parse(path, text)
    for part in TABLE:
        values = values.get(part) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        return None
    depth = len(TABLE)
    return File(path, values, {key[depth:]: line for key, line in lines_of_keys(text).items() if key[:depth] == TABLE})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Misconfigured([f"{displayed(path)}: is not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    except OSError as error:
        raise Misconfigured([f"{displayed(path)}: cannot be read: {os.strerror(error.errno or 0)}"]) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # 5 ms that only a process with a file should pay

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        found = re.search(r" \(at line (\d+), column (\d+)\)$", what)
        place = f"{displayed(path)}:{found[1]}" if found else displayed(path)
        column = f" (column {found[2]})" if found else ""
        what = what[: found.start()] if found else what
        raise Misconfigured([f"{place}: is not valid TOML: {what}{column}"]) from error
