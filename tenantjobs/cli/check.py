"""``tenantjobs check``: what is configured and where it comes from, which jobs are known, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from tenantjobs import adapter, checks, config, definition, gate, outbox, runtime, ticks
from tenantjobs.adapter import Works
from tenantjobs.cli import serving
from tenantjobs.cli.lazily import recurring
from tenantjobs.cli.output import as_json, json_option, table
from tenantjobs.cli.work import NO_APP, no_jobs
from tenantjobs.config import Settings, file
from tenantjobs.config.settings import CORE_SECTIONS, OPTIONS
from tenantjobs.errors import TenantjobsError


class Value(msgspec.Struct, frozen=True):
    """A setting in force, and where it was written."""

    value: object
    source: str


class KnownJob(msgspec.Struct, frozen=True):
    """A job that importing ``app`` has made known."""

    name: str
    queue: str
    defined: str


class Report(msgspec.Struct, frozen=True):
    """All that the command shows."""

    ok: bool
    file: str | None
    values: dict[str, Value]
    jobs: list[KnownJob]
    problems: list[str]
    notes: list[str]


@click.command("check")
@json_option
@click.pass_context
def command(ctx: click.Context, wants_json: bool) -> None:
    """Show the configuration in force, the jobs, and what is wrong."""
    report = _report()
    if wants_json:
        as_json(report)
    else:
        _print(report)
    ctx.exit(0 if report.ok else 1)


def _report() -> Report:
    problems = list(_problems())
    settings, _ = config.resolve()
    return Report(
        ok=not problems,
        file=settings.file,
        values={key: _value(settings, key, value) for key, value in _values(settings)},
        jobs=sorted(_jobs(), key=lambda job: job.name),
        problems=problems,
        notes=_notes() if not problems else [],
    )


def _problems() -> Iterator[str]:
    settings, mistakes = config.resolve()
    if mistakes:
        yield from mistakes
        return
    try:
        settings = runtime.load_app()
    except TenantjobsError as error:
        yield str(error)
        return
    except Exception as error:  # whatever the application raises while it is imported
        yield f"{settings.origins['app']}: importing app = {settings.app!r} raised {type(error).__name__}: {error}"
        return
    _, mistakes = config.resolve()  # the application may have added to the configuration
    yield from mistakes or (*_problems_of_adapter(settings), *checks.problems(), *_problems_of_recurring())


def _problems_of_adapter(settings: Settings) -> Iterator[str]:
    try:
        found = adapter.configured()
        works = isinstance(found, Works) or settings.drain is not None
        if works and not definition.registry:
            yield NO_APP if settings.app is None else no_jobs(settings)
        yield from _problems_of(found)
        if settings.adapter != outbox.KEEPER:  # which has looked at it already
            yield from _problems_of(outbox.configured())
        if settings.sections.get("redis") and settings.adapter != "redis":
            yield from _problems_of(adapter.built("redis"))
        if gate.settings() is not None:
            gate.workers()
            yield from _problems_of(gate.target())
        if settings.drain is not None:
            serving.workers(settings)
            yield from _problems_of(adapter.built(settings.drain.adapter))
    except TenantjobsError as error:
        yield str(error)


def _problems_of_recurring() -> Iterator[str]:
    try:
        found = recurring("entries").read()
        yield from found.mistakes
        if found.entries:
            ticks.keeper()
    except TenantjobsError as error:
        yield str(error)


def _notes() -> list[str]:
    """What works, and not as one might think."""
    notes: Callable[[], list[str]] = getattr(adapter.configured(), "notes", list)
    return notes()


def _problems_of(found: object) -> list[str]:
    check: Callable[[], list[str]] = getattr(found, "check", list)
    return check()


def _values(settings: Settings) -> Iterator[tuple[str, object]]:
    for name in OPTIONS:
        yield name, getattr(settings, name)
    drained = None if settings.drain is None else settings.drain.adapter
    gated = None if settings.gate is None else settings.gate.adapter
    names = dict.fromkeys(name for name in (settings.adapter, gated, drained, *settings.sections) if name is not None)
    for name in names:
        for key, value in {**_defaults(name), **settings.sections.get(name, {})}.items():
            yield f"{name}.{key}", value


def _defaults(name: str) -> dict[str, object]:
    """What is taken for the keys of the section that are not written."""
    try:
        fields = msgspec.structs.fields(CORE_SECTIONS.get(name) or config.adapter_class(name).Settings)
    except Exception:  # an adapter that cannot be imported is among the problems
        return {}
    return {field.encode_name: field.default for field in fields if field.default is not msgspec.NODEFAULT}


def _value(settings: Settings, key: str, value: object) -> Value:
    return Value(config.presentable(key, value), str(settings.origins.get(key, "default")))


def _jobs() -> set[KnownJob]:
    return {KnownJob(job.name, job.queue, definition.default_name(job.source)) for job in definition.registry.values()}


def _print(report: Report) -> None:
    used = "no file" if report.file is None else file.displayed(Path(report.file))
    click.echo(f"configuration ({used})")
    table((key, repr(found.value), found.source) for key, found in report.values.items())
    click.echo(f"\njobs ({len(report.jobs)})")
    table((job.name, f"queue {job.queue}", "" if job.defined == job.name else job.defined) for job in report.jobs)
    click.echo(f"\nproblems ({len(report.problems)})" if report.problems else "\nno problems")
    for problem in report.problems:
        click.echo("  " + problem.replace("\n", "\n    "))
    for note in report.notes:
        click.echo(f"note: {note}")
