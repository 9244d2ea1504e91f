"""``tenantjobs work``: workers for the configured adapter, and for one that is drained beside it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from tenantjobs import definition, encryption, runtime, signals
from tenantjobs.adapter import Supervises, WorkOptions, Works
from tenantjobs.cli import serving, values
from tenantjobs.cli.output import ARGUMENTS, Failure
from tenantjobs.cli.pidfile import kept
from tenantjobs.cli.reloading import Reloader
from tenantjobs.cli.supervising import supervise
from tenantjobs.config import Settings

logger = logging.getLogger("tenantjobs.cli")

DEFAULTS = WorkOptions()

# What is said of one process, by parameter; of several, a file says it.
ONE = {"queues": "queue", "threads": "threads", "polling_interval": "polling-interval", "drain": "drain"}

NO_APP = (
    "no app is configured, so a worker would know no job: "
    'write app = "shop.main", the module that defines the jobs, into tenantjobs.toml, or set TENANTJOBS_APP'
)


def no_jobs(settings: Settings) -> str:
    """What is wrong with an application that defines no job."""
    return (
        f"{settings.origins['app']}: importing app = {settings.app!r} has defined no job: import the modules that "
        f"define them there, or name the one that does"
    )


@click.command("work")
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Serve this queue only; repeat it for several.  [default: all queues]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=DEFAULTS.threads,
    show_default=True,
    help="How many jobs run at once.",
)
@click.option("--drain", is_flag=True, help="Stop as soon as nothing is left to do.")
@click.option(
    "--shutdown-timeout",
    metavar="SECONDS",
    type=values.Seconds(),
    default=DEFAULTS.shutdown_timeout,
    show_default=True,
    help="How long running jobs may take to finish when the worker is stopped.",
)
@click.option(
    "--polling-interval",
    metavar="SECONDS",
    type=values.Seconds(above=True),
    default=DEFAULTS.polling_interval,
    show_default=True,
    help="How long an idle worker waits before it looks again.",
)
@click.option(
    "--processes",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    help="Share the work between so many worker processes, under a supervisor.",
)
@click.option(
    "--pidfile",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the process id there, and refuse to start while that of a living process is.",
)
@click.option(
    "--health",
    metavar="[HOST:]PORT",
    callback=lambda _ctx, _parameter, value: _address(value),
    help="Answer GET /live and GET /ready there.  [default host: 127.0.0.1]",
)
@click.option("--reload", is_flag=True, help="Start again whenever a source file changes; for development.")
@click.option("--as", "assignment", metavar="JSON", hidden=True, help="Be one of the processes of a supervisor.")
@click.option(
    "--from",
    "name",
    metavar="ADAPTER",
    help="Perform from this adapter only, where [drain] names a second one; 'outbox' only relays.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What to log.  [default: as the application has set it up, else info]",
)
@click.pass_context
def command(
    ctx: click.Context,
    queues: tuple[str, ...],
    threads: int,
    drain: bool,
    shutdown_timeout: float,
    polling_interval: float,
    processes: int | None,
    pidfile: Path | None,
    health: tuple[str, int] | None,
    reload: bool,
    assignment: str | None,
    name: str | None,
    log_level: str | None,
) -> None:
    """Perform jobs until stopped."""
    if assignment is not None:
        signals.hold()
    if drain and (processes is not None or reload):
        other = "--processes" if processes is not None else "--reload"
        raise click.UsageError(f"--drain is for one process that ends: leave {other} out")
    if reload and assignment is None:
        _log(log_level)
        with kept(pidfile):
            ctx.exit(
                Reloader(_without(_this(ctx), "--reload", "--pidfile"), _sources(), patience=shutdown_timeout).run()
            )
    options = WorkOptions(
        queues=_queues(queues),
        threads=threads,
        drain=drain,
        shutdown_timeout=shutdown_timeout,
        polling_interval=polling_interval,
        health=health,
    )
    workers = _workers(name)
    _log(log_level)
    with kept(pidfile if assignment is None else None):
        if len(workers) == 1:
            ((name, worker),) = workers.items()
            ctx.exit(_work(ctx, name, worker, options, processes=processes, assignment=assignment))
        if health is not None:
            raise click.UsageError(f"--health is for one worker: choose it by --from, of {' and '.join(workers)}")
        ctx.exit(supervise(_commands(ctx, workers), drain=drain))


def _queues(names: tuple[str, ...]) -> tuple[str, ...]:
    wanted = [part.strip() for name in names for part in name.split(",")]
    if not names:
        return DEFAULTS.queues
    elif not all(wanted):
        raise click.BadParameter("the name of a queue is empty", param_hint="--queue")
    elif any("," in name for name in names):
        raise click.BadParameter(f"is one name at a time: {_options(wanted)}", param_hint="--queue")
    elif "*" in wanted and len(wanted) > 1:
        others = [name for name in wanted if name != "*"]
        raise click.BadParameter(
            f"'*' is all queues, others beside it say nothing: leave --queue out for all, or write {_options(others)}",
            param_hint="--queue",
        )
    else:
        return tuple(dict.fromkeys(wanted))


def _options(names: list[str]) -> str:
    return " ".join(f"-q {name}" for name in names)


def _workers(name: str | None) -> dict[str, Works]:
    """All that the configuration asks for, or the one that is wanted."""
    settings = runtime.load_app()
    encryption.keyring()  # a worker without it would put every job into quarantine
    found = serving.workers(settings)
    if name is not None and name not in found:
        raise click.BadParameter(f"{name!r} is not served here: {' and '.join(map(repr, found))}", param_hint="--from")
    if not definition.registry:
        # Every job would be unknown, and go into quarantine one by one.
        raise Failure(NO_APP if settings.app is None else no_jobs(settings))
    return found if name is None else {name: found[name]}


def _work(
    ctx: click.Context,
    name: str,
    worker: Works,
    options: WorkOptions,
    *,
    processes: int | None,
    assignment: str | None,
) -> int:
    """As one process that does everything, as a supervisor, or as one of its processes."""
    if not isinstance(worker, Supervises):
        if processes is not None:
            raise Failure(f"the adapter {name!r} has no supervisor: leave --processes out, and start as many workers")
        if options.health is not None:
            raise Failure(f"the adapter {name!r} does not say how it is: leave --health out")
        return worker.work(options)
    elif assignment is not None:
        return worker.serve(assignment)
    elif processes is not None or (worker.plan is not None and not _is_for_one(ctx, worker.plan)):
        return worker.supervise(options, processes, [*_this(ctx), "--from", name, "--as"])
    with serving.scheduling(name, options):  # a supervisor has a process for it
        return worker.work(options)


def _is_for_one(ctx: click.Context, plan: str) -> bool:
    """True if the command line says what one process is to do."""
    told = [name for name in ONE if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if told:
        logger.info("%s is not used: --%s says what this process does", plan, ONE[told[0]])
    return bool(told)


def _commands(ctx: click.Context, names: Iterable[str]) -> dict[str, list[str]]:
    """This command, once for each of them."""
    return {name: [*_without(_this(ctx), "--pidfile"), "--from", name] for name in names}


def _this(ctx: click.Context) -> list[str]:
    return [sys.executable, "-m", "tenantjobs.cli", *ctx.meta[ARGUMENTS]]


def _without(command: list[str], *options: str) -> list[str]:
    """The command without options that are for this process alone."""
    found: list[str] = []
    words = iter(command)
    for word in words:
        if word not in options and not word.startswith(tuple(f"{option}=" for option in options)):
            found.append(word)
        elif word == "--pidfile":
            next(words, None)  # its value
    return found


def _sources() -> list[Path]:
    """Where the files are that a worker depends on."""
    file = runtime.settings().file
    folders = {Path.cwd(), Path.cwd() if file is None else Path(file).parent}
    return sorted(folder for folder in folders if not any(other in folder.parents for other in folders))


def _address(value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is no [HOST:]PORT: write 8080 or 0.0.0.0:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def _log(level: str | None) -> None:
    if not logging.getLogger().handlers:
        logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s")
        level = level or "info"
    if level is not None:
        logging.getLogger("tenantjobs").setLevel(level.upper())
