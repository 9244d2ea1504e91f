"""Where a run was made: what somebody has to know who compares its figures with others."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.benchmarks.speed.peers import ROOT, versions
from tests.services import POSTGRES

SERVER = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
LIBRARIES = ("SQLAlchemy", "psycopg", "msgspec")
PEERS = ("pgqueuer", "asyncpg", "psycopg", "huey")


def describe(folder: Path) -> dict[str, str]:
    """``folder`` is where the files of SQLite are."""
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    memory = psutil.virtual_memory().total / 2**30
    return {
        "processors": f"{os.cpu_count()} of {_processor()}",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "file system": _file_system(folder),
        "Python": f"{platform.python_version()} for all sides",
        "PostgreSQL": _postgres(),
        "SQLite": f"{sqlite3.sqlite_version}, WAL on both sides",
        "tenantjobs": f"{metadata.version('tenantjobs')}{_commit()}, {_listed(libraries)}",
        "peers": _listed(versions(PEERS)),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown kind")


def _file_system(folder: Path) -> str:
    holding = [part for part in psutil.disk_partitions(all=True) if folder.absolute().is_relative_to(part.mountpoint)]
    return max(holding, key=lambda part: len(part.mountpoint)).fstype if holding else "unknown"


def _postgres() -> str:
    engine = create_engine(POSTGRES)
    try:
        with engine.connect() as connection:
            shown = {name: str(connection.execute(text(f"SHOW {name}")).scalar()) for name in SERVER}
            version = str(connection.execute(text("SHOW server_version")).scalar()).partition(" ")[0]
    except OperationalError:
        return "was down"
    finally:
        engine.dispose()
    return f"{version}, {_listed(shown)}"


def _commit() -> str:
    """The last commit that has changed what is measured, if there is git."""
    git, measured = ["git", "-C", str(ROOT)], ["--", "tenantjobs", "adapters"]
    found = subprocess.run([*git, "log", "-1", "--format=%h", *measured], check=False, capture_output=True, text=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", *measured], check=False, capture_output=True)
    if found.returncode:
        return ""
    return f" at {found.stdout.strip()}" + (" with changes" if changed.returncode else "")


def _listed(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in pairs.items())
