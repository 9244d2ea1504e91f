"""A PostgreSQL server of our own, for what the server of the tests is not configured to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import OperationalError

from tests.services import POSTGRES, missing

CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{folder}'
max_prepared_transactions = 10
fsync = off
"""
HOW = (
    "set max_prepared_transactions on the server of TENANTJOBS_TEST_POSTGRES, or put initdb and pg_ctl on the path, "
    "that the tests can start one of their own"
)


@contextmanager
def server_with_two_phases() -> Iterator[URL]:
    """A server that knows PREPARE TRANSACTION: the one of the tests if it does, else one that is started here."""
    if _prepares(POSTGRES):
        yield make_url(POSTGRES)
    elif (found := programs()) is None:
        missing("A PostgreSQL with max_prepared_transactions > 0", HOW)
    else:
        with _started(found) as url:
            yield url


def _prepares(url: str) -> bool:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return bool(int(connection.exec_driver_sql("SHOW max_prepared_transactions").scalar_one()))
    except OperationalError:
        return False
    finally:
        engine.dispose()


def programs() -> Path | None:
    """The folder of the newest installed server; Debian keeps it off the path."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((each for each in folders if (each / "initdb").exists() and (each / "pg_ctl").exists()), None)


@contextmanager
def _started(programs: Path) -> Iterator[URL]:
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    with TemporaryDirectory(prefix="tj-postgres-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"

        def run(*command: object) -> None:
            done = subprocess.run([str(each) for each in command], user=user, check=False, capture_output=True)
            if done.returncode:
                log = folder / "log"
                pytest.fail(f"{command[0]}: {done.stderr.decode()}{log.read_text() if log.exists() else ''}")

        run(programs / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", data)
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION.format(folder=folder))
        run(programs / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log")
        try:
            yield URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)})
        finally:
            run(programs / "pg_ctl", "stop", "-m", "immediate", "-D", data)
