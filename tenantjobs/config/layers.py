"""The layers, lowest first: defaults, file, environment, ``configure()``, command line, ``override()``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from tenantjobs.config import environ
from tenantjobs.config.conversion import convert
from tenantjobs.config.entry_points import adapter_class, installed, unknown_adapter
from tenantjobs.config.layer import Layer, layer
from tenantjobs.config.mistakes import Misconfigured, Mistakes, meant
from tenantjobs.config.settings import CORE_SECTIONS, OBJECTS, Origin, Settings

if TYPE_CHECKING:
    from tenantjobs.config.file import File

_lock = threading.Lock()
_configured = Layer()
_command_line = Layer()
_overrides: list[Layer] = []
_chosen_file: str | os.PathLike[str] | None = None
_callbacks: list[Callable[[frozenset[str]], object]] = []


def configure(**values: Any) -> None:
    """Set options and sections in code: ``configure(adapter="db", db={"engine": engine}, tenant=Account)``.

    May be called again: what is not named again stays, and sections are merged key by key. ``ConfigurationError``
    lists every unknown name and wrong type, and nothing is changed then.
    """
    global _configured
    upper = _in_code(_keyword("configure"), values)
    with _lock:
        _configured = _configured.under(upper)
    _tell(upper)


def command_line(*, file: str | os.PathLike[str] | None = None, **values: Any) -> None:
    """Set what the command line says; ``file`` is read instead of searching for one."""
    global _command_line, _chosen_file
    upper = _in_code(lambda key, *_: Origin(f"--{key}"), values)
    with _lock:
        _command_line = _command_line.under(upper)
        _chosen_file = _chosen_file if file is None else file
    _tell(upper, "adapter")  # whatever was built before the command line was read, may be another queue


@contextmanager
def override(**values: Any) -> Iterator[None]:
    """Put ``values`` over all other layers, in all threads, until the block is left. Blocks may be nested."""
    top = _in_code(_keyword("override"), values)
    with _lock:
        _overrides.append(top)
    try:
        _tell(top)
        yield
    finally:
        with _lock:
            # By identity: two blocks may say the same.
            _overrides[:] = [other for other in _overrides if other is not top]
        _tell(top)


def on_change(callback: Callable[[frozenset[str]], object]) -> None:
    """Call ``callback`` after every change of a layer, with the names of the options and sections in it."""
    _callbacks.append(callback)


def load() -> Settings:
    """The settings that all layers together make; ``ConfigurationError`` lists every mistake in any of them."""
    settings, mistakes = _resolve()
    if mistakes:
        # Adapters are imported for this only now: they know what else is wrong.
        _check_contents(settings, mistakes)
    mistakes.check()
    return settings


def resolve() -> tuple[Settings, tuple[str, ...]]:
    """The settings as far as they are right, and every mistake, those in the sections of all adapters included."""
    settings, mistakes = _resolve()
    _check_contents(settings, mistakes)
    return settings, mistakes.found()


def nothing_configured() -> str:
    """What to tell who enqueues although no adapter is configured."""
    found, file = _found_file(_chosen_file, Mistakes()), _file()
    where = (
        f"{file.displayed(found.path)} does not name one"
        if found is not None
        else f"there is no {file.NAME}, nor a {file.PYPROJECT} with [tool.tenantjobs], in {os.getcwd()} or above it"
    )
    return (
        f"no adapter is configured, so there is no queue to enqueue to: {where}. "
        f'Write adapter = "db" into {file.NAME} (`tenantjobs init` makes one), set TENANTJOBS_ADAPTER, or call '
        f'tenantjobs.configure(adapter="db", ...); in tests, use tenantjobs.testing.override(adapter="test")'
    )


def _resolve() -> tuple[Settings, Mistakes]:
    mistakes = Mistakes()
    with _lock:
        chosen = _chosen_file
        in_code = [_configured, _command_line, *_overrides]
    found = _found_file(chosen, mistakes)
    written = Layer() if found is None else _in_file(found, mistakes)

    def sections() -> set[str]:
        return {*CORE_SECTIONS, *installed()}.union(written.sections, *(upper.sections for upper in in_code))

    variables = environ.read(os.environ, sections, mistakes)
    return _settings(reduce(Layer.under, [written, variables, *in_code]), found, mistakes), mistakes


def _tell(changed: Layer, *besides: str) -> None:
    names = frozenset((*changed.options, *changed.sections, *besides))
    for callback in list(_callbacks):
        callback(names)


def _in_code(origin: Callable[..., Origin], values: dict[str, Any]) -> Layer:
    mistakes = Mistakes()
    found = layer(values, origin, mistakes)
    mistakes.check()
    return found


def _keyword(function: str) -> Callable[..., Origin]:
    def origin(name: str, key: str | None = None) -> Origin:
        value = "..." if key is None else f"{{{key!r}: ...}}"
        return Origin(f"{function}({name}={value})")

    return origin


def _found_file(chosen: str | os.PathLike[str] | None, mistakes: Mistakes) -> File | None:
    try:
        found: File | None = _file().chosen(chosen, os.environ.get(environ.FILE))
    except Misconfigured as error:
        mistakes.take(error)
        return None
    return found


def _file() -> Any:
    # The module brings pathlib; only a process that resolves its settings pays for it.
    return import_module("tenantjobs.config.file")


def _in_file(found: File, mistakes: Mistakes) -> Layer:
    values = dict(found.values)
    for key in OBJECTS:
        if values.pop(key, None) is not None:
            mistakes.add(found.origin(key), f"a file cannot say this; call tenantjobs.configure({key}=...)")
    directory = str(found.path.parent)
    for name, section in values.items():
        if isinstance(section, dict):
            values[name] = {key: _file().beside(directory, value) for key, value in section.items()}
    return layer(values, found.origin, mistakes)


def _settings(written: Layer, found: File | None, mistakes: Mistakes) -> Settings:
    options = {name: value for name, (value, _) in written.options.items() if value is not msgspec.UNSET}
    origins = {name: origin for name, (_, origin) in written.options.items()}
    sections: dict[str, MappingProxyType[str, Any]] = {}
    for name, keys in written.sections.items():
        sections[name] = MappingProxyType({key: value for key, (value, _) in keys.items()})
        origins.update({f"{name}.{key}": origin for key, (_, origin) in keys.items()})
    _check_adapter("adapter", options.get("adapter"), origins.get("adapter"), mistakes)
    _check_sections(written, found, mistakes)
    return Settings(
        **options,
        **_core_sections(written, mistakes),
        sections=MappingProxyType(sections),
        origins=MappingProxyType(origins),
        file=None if found is None else str(found.path),
    )


def _check_adapter(key: str, name: object, origin: Origin | None, mistakes: Mistakes) -> None:
    if isinstance(name, str) and name not in installed():
        mistakes.add_value(origin or Origin(key), key, unknown_adapter(name))


def _check_sections(written: Layer, found: File | None, mistakes: Mistakes) -> None:
    for name, keys in written.sections.items():
        if name not in CORE_SECTIONS and name not in installed():
            origins = [origin for _, origin in keys.values()] or [found.origin(name) if found else Origin(name)]
            mistakes.add(origins[0], f"unknown section [{name}]{meant(name, {*CORE_SECTIONS, *installed()})}")


def _check_contents(settings: Settings, mistakes: Mistakes) -> None:
    for name, values in settings.sections.items():
        if name in installed():
            try:
                struct = adapter_class(name).Settings
            except Exception as error:  # whatever importing it raises; the other mistakes are told all the same
                mistakes.add(f"[{name}]", str(error))
            else:
                origins = {key: settings.origins[f"{name}.{key}"] for key in values}
                convert(struct, values, origins, mistakes, table=name)


def _core_sections(written: Layer, mistakes: Mistakes) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, struct in CORE_SECTIONS.items():
        if name not in written.sections:
            continue
        values = {key: value for key, (value, _) in written.sections[name].items()}
        origins = {key: origin for key, (_, origin) in written.sections[name].items()}
        if name in ("drain", "gate"):
            _check_adapter(f"{name}.adapter", values.get("adapter"), origins.get("adapter"), mistakes)
        made[name] = convert(struct, values, origins, mistakes, table=name)
    return made
