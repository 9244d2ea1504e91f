"""Strict YAML: every mistake with its line and column, sections by environment, ``${VARIABLE:-default}``.

What readers of YAML disagree about, or what was hardly meant, is refused with the way out: a key that is there twice,
``yes`` and ``017`` without quotes, tags, a schedule that begins with ``*`` and is no text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec
import yaml

from tenantjobs.config.conversion import convert_value
from tenantjobs.config.file import displayed
from tenantjobs.config.mistakes import Mistakes, meant
from tenantjobs.config.settings import Origin

S = TypeVar("S", bound=msgspec.Struct)

_TEXT = "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING = ("", "~", "null", "Null", "NULL")
_AMBIGUOUS = re.compile(r"(?i:yes|no|on|off)|[-+]?0[0-9_]+|[-+]?0[xob][0-9a-fA-F_]+|[-+]?[0-9]+(_[0-9]+)+")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?")


class Marked(NamedTuple):
    """A value and where it stands: None, bool, int, float, str, a dict of text to Marked, or a list of Marked."""

    value: Any
    origin: Origin
    key: Origin | None = None  # where the key stands that it is the value of


class Document(NamedTuple):
    """What was read for one environment; ``section`` is None if the file has none for it."""

    path: Path
    environments: tuple[str, ...]
    section: dict[str, Marked] | None


def read(path: Path, environment: str, mistakes: Mistakes, environ: Mapping[str, str] = os.environ) -> Document:
    """The section of ``environment``. Variables of other sections are not looked at; all else is checked in each."""
    root = _root(path, mistakes)
    sections: dict[str, Marked] = {}
    for name, node in _Reader(path, mistakes, None).entries(root) if root is not None else ():
        reader = _Reader(path, mistakes, environ if name.value == environment else None)
        sections[name.value] = reader.value(node)._replace(key=name.origin)
    for key, found in sections.items():
        if found.value is not None and not isinstance(found.value, dict):
            mistakes.add(found.origin, f"{key}: the keys of the file are environments, each with its entries below it")
    chosen = sections.get(environment)
    section = None if chosen is None else chosen.value or {}
    return Document(path, tuple(sections), section if isinstance(section, dict) else None)


def typed(entry: Marked, struct: type[S], mistakes: Mistakes, *, what: str) -> S | None:
    """The mapping ``entry`` as a ``struct``, nested ones too; None if there were mistakes, which are all noted."""
    if not isinstance(entry.value, dict):
        mistakes.add(entry.origin, f"{what}: a mapping of {_known(struct)} is wanted, not {_plain_shown(entry)}")
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    values: dict[str, Any] = {}
    for key, marked in entry.value.items():
        if key in fields:
            values[fields[key].name] = _converted(marked, fields[key].type, mistakes, f"{what}.{key}")
        else:
            mistakes.add(marked.key or marked.origin, f"{what}: unknown key {key!r}{meant(key, fields)}")
            values[key] = msgspec.UNSET
    for name, field in fields.items():
        if field.required and name not in entry.value:
            mistakes.add(entry.key or entry.origin, f"{what}: {name} is missing")
            values[name] = msgspec.UNSET
    if any(value is msgspec.UNSET for value in values.values()):
        return None
    try:
        return struct(**values)
    except (ValueError, TypeError) as error:  # what the struct itself has to say about its values
        mistakes.add(entry.key or entry.origin, f"{what}: {error}")
        return None


def plain(marked: Marked) -> Any:
    """The value without its marks."""
    if isinstance(marked.value, dict):
        return {key: plain(value) for key, value in marked.value.items()}
    elif isinstance(marked.value, list):
        return [plain(value) for value in marked.value]
    else:
        return marked.value


def _converted(marked: Marked, kind: Any, mistakes: Mistakes, what: str) -> Any:
    inner = get_args(kind)[0] if get_origin(kind) in (list, tuple) else None
    if _is_struct(kind):
        found = typed(marked, kind, mistakes, what=what)
        return msgspec.UNSET if found is None else found
    elif inner is not None and _is_struct(inner) and isinstance(marked.value, list):
        many = [typed(one, inner, mistakes, what=f"{what}[{number}]") for number, one in enumerate(marked.value)]
        return msgspec.UNSET if None in many else get_origin(kind)(many)
    else:
        origin = msgspec.structs.replace(marked.origin, text=_from_variable(marked))
        return convert_value(plain(marked), kind, origin, mistakes, key=what)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _from_variable(marked: Marked) -> bool:
    """True if a text in it is what a variable said, and may stand for a number."""
    inner = marked.value.values() if isinstance(marked.value, dict) else marked.value
    return marked.origin.text or (isinstance(marked.value, dict | list) and any(map(_from_variable, inner)))


def _known(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field.encode_name for field in msgspec.structs.fields(struct))


def _plain_shown(marked: Marked) -> str:
    return "nothing" if marked.value is None else repr(plain(marked))[:80]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # only some builds have the fast one
    """Leaves every plain text as it is written: YAML 1.1 takes ``12:30`` for 750, and ``no`` for false."""

    yaml_implicit_resolvers: dict[str, Any] = {}


def _root(path: Path, mistakes: Mistakes) -> yaml.MappingNode | None:
    place = displayed(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        mistakes.add(place, f"is not UTF-8 text: {error.reason} at byte {error.start}")
        return None
    except OSError as error:
        mistakes.add(place, f"cannot be read: {os.strerror(error.errno or 0)}")
        return None
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        mistakes.add(_origin(path, mark), f"is not valid YAML: {error.problem or error.context}{_hint(text, mark)}")
        return None
    except yaml.YAMLError as error:
        mistakes.add(place, f"is not valid YAML: {str(error).splitlines()[0]}")
        return None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value in _NOTHING):
        return None
    if not isinstance(root, yaml.MappingNode):
        mistakes.add(_origin(path, root.start_mark), "the keys of the file are environments, as in `production:`")
        return None
    return root


def _hint(text: str, mark: Any) -> str:
    line = "" if mark is None else "".join(text.split("\n")[mark.line : mark.line + 1])
    if re.search(r":\s*\*", line):
        return '; a text that begins with * has to be in quotes, as in cron: "*/5 * * * *"'
    elif "${" in line:
        return '; inside { } or [ ] a variable has to be in quotes, as in "${NAME:-default}"'
    else:
        return ""


def _origin(path: Path, mark: Any) -> Origin:
    if mark is None:
        return Origin(displayed(path))
    return Origin(displayed(path), line=mark.line + 1, column=mark.column + 1, directory=str(path.parent))


class _Reader:
    """From nodes to marked values; without ``environ`` variables are left as they are written."""

    def __init__(self, path: Path, mistakes: Mistakes, environ: Mapping[str, str] | None) -> None:
        self._path = path
        self._mistakes = mistakes
        self._environ = environ
        self._above: list[yaml.Node] = []

    def value(self, node: yaml.Node) -> Marked:
        origin = _origin(self._path, node.start_mark)
        if node in self._above:
            self._mistakes.add(origin, "an anchor that is inside itself has no end")
            return Marked(None, origin)
        self._above.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                found = self.entries(node)
                return Marked({key.value: self.value(inner)._replace(key=key.origin) for key, inner in found}, origin)
            elif isinstance(node, yaml.SequenceNode):
                return Marked([self.value(inner) for inner in node.value], origin)
            else:
                assert isinstance(node, yaml.ScalarNode)
                return self._scalar(node, origin)
        finally:
            self._above.pop()

    def entries(self, node: yaml.MappingNode) -> list[tuple[Marked, yaml.Node]]:
        """Keys and values of a mapping; what ``<<`` brings is under what is written there itself."""
        written: dict[str, tuple[Marked, yaml.Node]] = {}
        merged: dict[str, tuple[Marked, yaml.Node]] = {}
        for key, value in node.value:
            origin = _origin(self._path, key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self._mistakes.add(origin, "a key is a text")
            elif key.value == "<<" and not key.style:
                merged = {**self._merged(value), **merged}
            elif key.value in written:
                before = written[key.value][0].origin
                self._mistakes.add(origin, f"{key.value!r} is there twice, first in line {before.line}")
            else:
                written[key.value] = Marked(key.value, origin), value
        return list({**merged, **written}.values())

    def _merged(self, node: yaml.Node) -> dict[str, tuple[Marked, yaml.Node]]:
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, tuple[Marked, yaml.Node]] = {}
        for one in several:
            if not isinstance(one, yaml.MappingNode) or one in self._above:
                self._mistakes.add(_origin(self._path, one.start_mark), "<< takes a mapping, as in `<<: *production`")
                continue
            self._above.append(one)
            entries = self.entries(one)
            self._above.pop()
            found = {**{key.value: (key, value) for key, value in entries}, **found}
        return found

    def _scalar(self, node: yaml.ScalarNode, origin: Origin) -> Marked:
        text = node.value
        if node.tag not in (_TEXT, "!"):
            self._mistakes.add(origin, f"a tag as {node.tag.replace('tag:yaml.org,2002:', '!!')!r} says nothing here")
        bare = not node.style
        if (filled := self._filled(text, origin)) != text:
            origin = msgspec.structs.replace(origin, text=True)
        elif bare and _AMBIGUOUS.fullmatch(text):
            self._mistakes.add(origin, f"{text} is one thing to some readers of YAML and another to others{_way(text)}")
            return Marked(text, origin)
        return Marked(_resolved(filled) if bare else filled, origin)

    def _filled(self, text: str, origin: Origin) -> str:
        environ = self._environ
        if environ is None:
            return text

        def value(match: re.Match[str]) -> str:
            name, has_default, default = match.groups()
            if match[0] == "$${":
                return "${"
            elif name is None:
                self._mistakes.add(origin, "${ begins a variable: write ${NAME}, ${NAME:-default}, or $${ for itself")
            elif environ.get(name) or (name in environ and not has_default):
                return environ[name]
            elif not has_default:
                self._mistakes.add(origin, f"the variable {name} is not set: set it, or write ${{{name}:-default}}")
            return default or ""

        return _VARIABLE.sub(value, text)


def _resolved(text: str) -> object:
    """What a text without quotes stands for."""
    if text in _NOTHING:
        return None
    elif _AMBIGUOUS.fullmatch(text):
        return text
    elif _INTEGER.fullmatch(text):
        return int(text)
    elif _FLOAT.fullmatch(text):
        return float(text)
    else:
        return _BOOLEANS.get(text, text)


def _way(text: str) -> str:
    if text.lower() in ("yes", "on", "no", "off"):
        truth = "true" if text.lower() in ("yes", "on") else "false"
        return f': write {truth}, or "{text}" for the text'
    else:
        return f': write a plain decimal number, or "{text}" for the text'
