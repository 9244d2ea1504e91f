"""Configuration: what may be written where, how the layers are put together, and one error for all mistakes.

Defaults < file < ``TENANTJOBS_*`` < ``configure()`` < command line < ``override()``. ``runtime`` holds the result.
"""

from __future__ import annotations

from tenantjobs.config.conversion import presentable, section, shown
from tenantjobs.config.entry_points import adapter_class, entry_point, installed
from tenantjobs.config.layers import (
    command_line,
    configure,
    load,
    nothing_configured,
    on_change,
    override,
    resolve,
)
from tenantjobs.config.mistakes import Misconfigured
from tenantjobs.config.settings import DrainSettings, Origin, Settings, SigningSettings

__all__ = [
    "DrainSettings",
    "Misconfigured",
    "Origin",
    "Settings",
    "SigningSettings",
    "adapter_class",
    "command_line",
    "configure",
    "entry_point",
    "installed",
    "load",
    "nothing_configured",
    "on_change",
    "override",
    "presentable",
    "resolve",
    "section",
    "shown",
]
