"""The entries of ``config/recurring.yml``: every mistake at its place, jobs imported, arguments tried."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tenantjobs import runtime, schedules, yaml_file
from tenantjobs.config import Settings
from tenantjobs.config.mistakes import Mistakes
from tenantjobs.config.settings import Origin
from tenantjobs.errors import ConfigurationError
from tenantjobs.recurring import targets
from tenantjobs.recurring.targets import Target
from tenantjobs.schedules import Schedule
from tenantjobs.schedules.intervals import SECONDS, duration
from tenantjobs.schedules.zones import zone_of
from tenantjobs.yaml_file import Marked

CatchUp = Literal["skip", "once", "all"]
LONGEST_KEY = 128  # characters


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry as it is written."""

    job: str | None = msgspec.field(default=None, name="class")
    call: str | None = None
    command: Any = None
    args: list[Any] = msgspec.field(default_factory=list)
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    description: str | None = None
    schedule: str | None = None
    cron: str | None = None
    every: str | None = None
    for_each_tenant: bool = False
    system: str | None = None
    catch_up: CatchUp = "once"
    jitter: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be enqueued, when, and in which scope: for each tenant, in the system's with a reason, or in none.

    ``jitter``: within how many seconds the jobs of all tenants begin. ``dynamic``: not of the file.
    """

    key: str
    target: Target
    schedule: Schedule
    queue: str | None = None
    priority: int | None = None
    description: str | None = None
    for_each_tenant: bool = False
    system: str | None = None
    catch_up: CatchUp = "once"
    jitter: float = 0.0
    dynamic: bool = False

    @property
    def by_tenants_clock(self) -> bool:
        """True if it comes due for each tenant by the clock of its time zone."""
        return self.for_each_tenant and not self.schedule.zoned and runtime.settings().zone_of is not None


class File(msgspec.Struct, frozen=True):
    """What the file says for this environment."""

    path: Path
    entries: Mapping[str, Entry]
    mistakes: tuple[str, ...] = ()


def of_file() -> Mapping[str, Entry]:
    """The entries of the file, by key; ``ConfigurationError`` with every mistake in it."""
    found = read()
    if found.mistakes:
        raise ConfigurationError("\n  ".join((f"mistakes in {found.path}:", *found.mistakes)))
    return found.entries


def read() -> File:
    """The entries that are right, and all mistakes. A file that is not there, and was not asked for, has none."""
    settings = runtime.load_app()
    path = settings.located(settings.recurring)
    if not path.is_file() and "recurring" not in settings.origins:
        return File(path, {})
    mistakes = Mistakes()
    document = yaml_file.read(path, settings.environment, mistakes)
    if document.section is None and document.environments and not mistakes:
        names = ", ".join(document.environments)
        mistakes.add(
            str(path),
            f"has no section {settings.environment!r}, only {names}: set TENANTJOBS_ENV, or write "
            f"`{settings.environment}:` with nothing below it",
        )
    found = {key: _entry(key, marked, mistakes) for key, marked in (document.section or {}).items()}
    return File(path, {key: entry for key, entry in found.items() if entry is not None}, mistakes.found())


def made(
    key: str, written: Written, mistakes: Mistakes, places: Mapping[str, Origin | str], *, dynamic: bool
) -> Entry | None:
    """The entry that ``written`` is; None if there were mistakes, which are noted at their ``places``."""
    settings = runtime.settings()
    before = len(mistakes.found())

    def wrong(name: str, what: str) -> None:
        mistakes.add(places.get(name, places[""]), f"{key}: {what}")

    if not key or len(key) > LONGEST_KEY:
        wrong("", f"a key has 1 to {LONGEST_KEY} characters")
    if written.command is not None:
        wrong(
            "command",
            "command: would be evaluated, and is not: name what is to be called in call:, as call: shop.jobs:sweep",
        )
    schedule = _schedule(written, settings, wrong)
    target = _target(written, wrong)
    if written.for_each_tenant and written.system is not None:
        wrong("system", "for_each_tenant: true and system: exclude each other")
    elif settings.tenancy == "none" and written.for_each_tenant:
        wrong("for_each_tenant", "there are no tenants, by tenancy = 'none'")
    elif settings.tenancy == "required" and not written.for_each_tenant and written.system is None:
        wrong("", 'say for whom it is: for_each_tenant: true, or system: "why it is for all of them at once"')
    if written.system is not None and not written.system.strip():
        wrong("system", "system: wants a reason")
    if written.for_each_tenant and settings.tenants is None and settings.tenancy != "none":
        wrong(
            "for_each_tenant",
            "which tenants there are is not known: tenantjobs.configure(tenants=...), a function that gives them",
        )
    jitter = _jitter(written, wrong)
    if len(mistakes.found()) > before or schedule is None or target is None:
        return None
    return Entry(
        key=key,
        target=target,
        schedule=schedule,
        queue=written.queue,
        priority=written.priority,
        description=written.description,
        for_each_tenant=written.for_each_tenant,
        system=written.system,
        catch_up=written.catch_up,
        jitter=jitter,
        dynamic=dynamic,
    )


def _entry(key: str, marked: Marked, mistakes: Mistakes) -> Entry | None:
    written = yaml_file.typed(marked, Written, mistakes, what=key)
    if written is None:
        return None
    places: dict[str, Origin | str] = {name: value.origin for name, value in marked.value.items()}
    return made(key, written, mistakes, places | {"": marked.key or marked.origin}, dynamic=False)


def _schedule(written: Written, settings: Settings, wrong: Any) -> Schedule | None:
    readers = {"schedule": schedules.parse, "cron": schedules.cron, "every": schedules.every}
    said = [(name, text) for name in readers if (text := getattr(written, name)) is not None]
    if len(said) != 1:
        wrong("", "say when, by one of schedule:, cron: and every:" + ("" if not said else ", not by several"))
        return None
    ((name, text),) = said
    try:
        return readers[name](text).in_zone(zone_of(settings.time_zone))
    except ConfigurationError as error:
        wrong(name, str(error))
        return None


def _target(written: Written, wrong: Any) -> Target | None:
    if (written.job is None) == (written.call is None):
        if written.command is None:
            wrong("", "say what, by class: (a job) or call: (a job, or anything that can be called)")
        return None
    name = "call" if written.job is None else "class"
    try:
        return targets.found(str(written.call or written.job), written.args, written.kwargs, plain=written.job is None)
    except ConfigurationError as error:
        wrong(name, f"{name}: {error}")
        return None


def _jitter(written: Written, wrong: Any) -> float:
    if written.jitter is None:
        return 0.0
    found = duration(written.jitter)
    if found is None:
        wrong("jitter", f"{written.jitter!r} is no duration: a number and a unit, as in 10m")
    elif not written.for_each_tenant:
        wrong("jitter", "jitter: spreads the jobs of many tenants, and is for for_each_tenant: true")
    else:
        return float(found[0] * SECONDS[found[1]])
    return 0.0
