"""The layer of environment variables: ``TENANTJOBS_ADAPTER`` for an option, ``TENANTJOBS_DB_URL`` for a section."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tenantjobs.config.conversion import variable
from tenantjobs.config.layer import Layer, Written, option
from tenantjobs.config.mistakes import Mistakes
from tenantjobs.config.settings import OBJECTS, OPTIONS, Origin
from tenantjobs.spelling import nearest

PREFIX = "TENANTJOBS_"
FILE = "TENANTJOBS_CONFIG"
ENVIRONMENT = "TENANTJOBS_ENV"

_VARIABLES = {name: variable(name) for name in OPTIONS} | {"environment": ENVIRONMENT}
_OPTIONS = {variable: name for name, variable in _VARIABLES.items() if name not in OBJECTS}
_LIKELY = _VARIABLES | {"config": FILE, "env": ENVIRONMENT}


def read(environ: Mapping[str, str], sections: Callable[[], Collection[str]], mistakes: Mistakes) -> Layer:
    """What the variables say. An empty one counts as not set.

    ``sections`` gives the names of all sections. It is asked only when there is a variable that is no option.
    """
    options: dict[str, Written] = {}
    found: dict[str, dict[str, Written]] = {}
    for name in sorted(environ):
        value, origin = environ[name], Origin(name, text=True)
        if not name.startswith(PREFIX) or not value or name == FILE:
            continue
        if name in _OPTIONS:
            options[_OPTIONS[name]] = option(_OPTIONS[name], value, origin, mistakes)
        elif (key := _key(name, sections())) is not None:
            section, inner = key
            found.setdefault(section, {})[inner] = Written(value, origin)
        else:
            _look_for_mistake(name, mistakes)
    return Layer(options, found)


def _key(name: str, sections: Collection[str]) -> tuple[str, str] | None:
    for section in sorted(sections, key=len, reverse=True):
        start = variable(section) + "_"
        if name.startswith(start) and len(name) > len(start):
            return section, name.removeprefix(start).lower()
    return None


def _look_for_mistake(name: str, mistakes: Mistakes) -> None:
    # A name that is near to none of ours is somebody else's: Kubernetes, for one, sets TENANTJOBS_PORT
    # wherever a service is called tenantjobs.
    found = nearest(name.removeprefix(PREFIX), _LIKELY, cutoff=0.75)
    if found in OBJECTS:
        mistakes.add(name, f"a variable cannot say this; call tenantjobs.configure({found}=...)")
    elif found is not None:
        mistakes.add(name, f"is no setting; did you mean {_LIKELY[found]}?")
