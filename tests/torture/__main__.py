"""``make torture``: jobs of every kind and of many tenants, while all is done to the queue that may happen to it.

``python -m tests.torture postgresql --jobs 5000 --seed 7`` is a part of it. Writes ``build/torture.json``; the exit
code is 1 if anything was lost, doubled, leaked or stuck.
"""

from __future__ import annotations

import argparse
import platform
import secrets
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.torture.run import Result, torture
from tests.torture.servers import DATABASES, server

OUTPUT = Path("build/torture.json")
FOLDER = Path("build/torture")  # where processes log
JOBS = 50_000
COLUMNS = ("lost", "doubled", "leaked", "stuck", "beyond", "undone")
SHOWN = 5  # of each kind


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nobody is left behind
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("databases", nargs="*", metavar="DATABASE", help=f"some of {', '.join(DATABASES)}; all if none")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many, on each of them")
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--seed", type=int, help="of a run that is to be played again; else by chance")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long each of them is tormented, at most")
    options = parser.parse_args()
    if unknown := set(options.databases) - set(DATABASES):
        parser.error(f"there is no {', '.join(sorted(unknown))}: {', '.join(DATABASES)}")
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}: {options.jobs:,} jobs of {options.tenants} tenants on each database", flush=True)
    results = [_run(name, seed, options) for name in options.databases or DATABASES]
    _write(results)
    _print(results)
    return int(not all(result.passed for result in results))


def _run(name: str, seed: int, options: argparse.Namespace) -> Result:
    folder = (FOLDER / name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with server(name, folder) as (tormented, left_out):
        if left_out is not None:
            print(f"{name}: SKIPPED, {left_out}", flush=True)
        result = torture(
            tormented,
            folder,
            jobs=options.jobs,
            tenants=options.tenants,
            seed=seed,
            minutes=options.minutes,
            left_out=left_out,
            say=lambda line: print(f"\r\033[K{name}: {line}", end="", file=sys.stderr, flush=True),
        )
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    return result


def _write(results: list[Result]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "databases": results,
    }
    OUTPUT.write_bytes(msgspec.json.format(msgspec.json.encode(record)))


def _print(results: list[Result]) -> None:
    print(f"{'':22}{'jobs':>8}{'attempts':>10}{'acts':>6}{'s':>7}", *(f"{name:>9}" for name in COLUMNS), " repeated")
    for result in results:
        counts = (len(result.findings[name]) for name in COLUMNS)
        print(
            f"{result.database} {result.version.split('-')[0].split(' ')[0]:<{21 - len(result.database)}}"
            f"{result.jobs:>8,}{result.attempts:>10,}{sum(result.acts.values()):>6}{result.seconds:>7.0f}",
            *(f"{count:>9}" for count in counts),
            f"{result.repeated:>9}",
        )
    print("repeated: effects of jobs to which at least once was promised, and no more")
    for result in results:
        print(f"\n{result.database}: " + ", ".join(f"{name} {count}" for name, count in result.acts.items()))
        if result.left_out is not None:
            print(f"  SKIPPED: {result.left_out}")
        for name, found in result.findings.items():
            for sentence in found[:SHOWN]:
                print(f"  {name}: {sentence}")
            if len(found) > SHOWN:
                print(f"  {name}: and {len(found) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
