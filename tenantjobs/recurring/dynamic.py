"""Entries that are scheduled at run time: rows beside the ticks, noticed by every scheduler within seconds."""

from __future__ import annotations

from typing import Any

import msgspec

from tenantjobs import clock, runtime
from tenantjobs.config.mistakes import Misconfigured, Mistakes, meant
from tenantjobs.errors import ConfigurationError
from tenantjobs.jobs import definition_of
from tenantjobs.recurring import entries
from tenantjobs.recurring.entries import CatchUp, Entry, Written
from tenantjobs.ticks import keeper


def schedule(
    key: str,
    job: Any,
    *args: Any,
    schedule: str | None = None,
    cron: str | None = None,
    every: str | None = None,
    kwargs: dict[str, Any] | None = None,
    queue: str | None = None,
    priority: int | None = None,
    description: str | None = None,
    for_each_tenant: bool = False,
    system: str | None = None,
    catch_up: CatchUp = "once",
    jitter: str | None = None,
) -> Entry:
    """Have ``job`` enqueued again and again, from now on: what ``config/recurring.yml`` says, said in code.

    A key that was scheduled before is written anew. ``ConfigurationError`` for one of the file, for arguments that are
    not plain JSON, and for everything that the file would not be allowed to say.
    """
    if key in entries.read().entries:
        raise ConfigurationError(f"recurring {key} is one of the file, and is changed there")
    written = Written(
        job=definition_of(job).name,
        args=list(args),
        kwargs=kwargs or {},
        queue=queue,
        priority=priority,
        description=description,
        schedule=schedule,
        cron=cron,
        every=every,
        for_each_tenant=for_each_tenant,
        system=system,
        catch_up=catch_up,
        jitter=jitter,
    )
    try:
        text = msgspec.json.encode(written).decode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"recurring {key}: its arguments are not plain JSON: {error}") from error
    if msgspec.json.decode(text, type=Written) != written:
        raise ConfigurationError(f"recurring {key}: its arguments are not plain JSON: they would come back as others")
    made = entry(key, text)
    keeper().ticks.put(key, text, clock.now())
    return made


def unschedule(key: str) -> None:
    """Take an entry away that was scheduled at run time; ``ConfigurationError`` if there is none of this key."""
    states = keeper().ticks.states()
    if key in entries.read().entries:
        raise ConfigurationError(f"recurring {key} is one of the file, and is taken out there")
    dynamic = [known for known, state in states.items() if state.entry is not None]
    if key not in dynamic:
        raise ConfigurationError(f"nothing was scheduled as {key!r}{meant(key, dynamic)}")
    keeper().ticks.remove(key)


def entry(key: str, text: str) -> Entry:
    """The entry that was stored; ``ConfigurationError`` if this process cannot have it, as its job is gone."""
    runtime.load_app()
    mistakes = Mistakes()
    found = entries.made(key, msgspec.json.decode(text, type=Written), mistakes, {"": "schedule()"}, dynamic=True)
    if found is None:
        raise Misconfigured(mistakes.found())
    return found
