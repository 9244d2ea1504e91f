"""On which line of a TOML text each key stands; the parser of the standard library does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator

Key = tuple[str, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?!")|\'\'\'.*?\'\'\'(?!\')'  # texts of several lines
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''  # texts of one line
    r"|#[^\n]*|\n|[A-Za-z0-9_-]+|.",
    re.DOTALL,
)
_OPENS, _CLOSES = frozenset("[{"), frozenset("]}")


def lines_of_keys(text: str) -> dict[Key, int]:
    """The first line of each table and key of a valid TOML ``text``; what stands in an inline table is left out."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, tokens in _statements(text):
        if tokens[0] == "[":
            table = _key(tokens)
            lines.setdefault(table, number)
        elif "=" in tokens:
            lines.setdefault(table + _key(tokens[: tokens.index("=")]), number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    number, start, depth = 1, 1, 0
    statement: list[str] = []
    for token in _TOKEN.findall(text):
        if token == "\n" and depth == 0:
            if statement:
                yield start, statement
            statement = []
        elif not token.isspace() and not token.startswith("#"):
            start = start if statement else number
            statement.append(token)
            depth += (token in _OPENS) - (token in _CLOSES)
        number += token.count("\n")
    if statement:
        yield start, statement


def _key(tokens: list[str]) -> Key:
    return tuple(token.strip("\"'") for token in tokens if token not in (".", "[", "]"))
