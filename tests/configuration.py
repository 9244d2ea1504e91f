"""A process in which nothing is configured, in an empty folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import Result

from tenantjobs import adapter, runtime
from tenantjobs.config import layers
from tenantjobs.config.layer import Layer


class Run(Protocol):
    """Runs the command ``tenantjobs`` in this process."""

    def __call__(self, *arguments: str, exit_code: int = 0) -> Result: ...


@contextmanager
def nothing_configured(folder: Path) -> Iterator[Path]:
    """``folder`` is the working directory; layers, variables and the path of modules are as before afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("TENANTJOBS_")]:
            patch.delenv(name)
        patch.setattr(layers, "_configured", Layer())
        patch.setattr(layers, "_command_line", Layer())
        patch.setattr(layers, "_overrides", [])
        patch.setattr(layers, "_chosen_file", None)
        patch.setattr(layers, "_callbacks", list(layers._callbacks))
        patch.setattr(sys, "path", list(sys.path))
        modules = set(sys.modules)
        _forget()
        yield folder
        for name in sys.modules.keys() - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
    _forget()


def write(folder: Path, text: str, name: str = "tenantjobs.toml") -> Path:
    """The file ``name`` in ``folder``, with ``text``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _forget() -> None:
    runtime._forget(frozenset())
    adapter._forget(frozenset({"adapter"}))
