"""What a statement's text compares a column with: the parameters and the constants beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_TALK = r"'(?:[^']|'')*'|--[^\n]*|/\*(?s:.*?)\*/"  # texts and comments
_OPERAND = r"""(?x) %\((?P<named>\w+)\)s | (?<!:):(?P<colon>[a-zA-Z_]\w*) | \$(?P<numbered>\d+)
    | (?P<next>\?|%s) | '(?P<text>(?:[^']|'')*)' | (?<![\w.$])(?P<number>\d+)(?![\w.])"""
_COMPARISON = (
    r"""(?ix) \b{column}["`]? \s* (?: =\s* (?P<one>{operand}) | \bin\s*\( (?P<many>(?:[^()]|%\(\w+\)s)*) \) )"""
)


def compared(column: str, statement: str, parameters: Any) -> list[Any]:
    """The values, as far as they can be read; those of every row if the statement is executed for many."""
    found = _places(column, statement)
    if not found:
        return []
    several = isinstance(parameters, list) or (
        isinstance(parameters, tuple) and parameters and all(isinstance(each, (tuple, Mapping)) for each in parameters)
    )
    return [value for row in (parameters if several else [parameters]) for value in _values(found, row)]


def without_comments(statement: str) -> str:
    """The same text with spaces in the place of comments."""
    return re.sub(_TALK, lambda found: found[0] if found[0][0] == "'" else " " * len(found[0]), statement)


def _values(found: tuple[tuple[str, str], ...], row: Any) -> Iterator[Any]:
    for kind, what in found:
        if kind in ("text", "number"):
            yield what
        elif isinstance(row, Mapping):
            if what in row:
                yield row[what]
        elif what.isdigit() and row is not None and int(what) < len(row):
            yield row[int(what)]


@lru_cache(maxsize=1024)
def _places(column: str, statement: str) -> tuple[tuple[str, str], ...]:
    """What kind of operand, and what it is: a value, the name of a parameter or its number."""
    code = without_comments(statement)
    bare = re.sub(_TALK, lambda found: " " * len(found[0]), statement)
    nexts = [found.start() for found in re.finditer(r"\?|%s", bare)]
    places = []
    for comparison in re.finditer(_COMPARISON.format(column=re.escape(column), operand=_PLAIN), code):
        group = "one" if comparison["one"] else "many"
        for operand in re.finditer(_OPERAND, code[comparison.start(group) : comparison.end(group)]):
            at = comparison.start(group) + operand.start()
            places.append(_place(operand, nexts, at))
    return tuple(places)


def _place(operand: re.Match[str], nexts: list[int], at: int) -> tuple[str, str]:
    kind = str(operand.lastgroup)
    if kind == "next":
        return "numbered", str(nexts.index(at))
    elif kind == "numbered":
        return "numbered", str(int(operand[kind]) - 1)
    else:
        return kind, operand[kind].replace("''", "'")


_PLAIN = re.sub(r"\?P<\w+>", "?:", _OPERAND.removeprefix("(?x)"))
