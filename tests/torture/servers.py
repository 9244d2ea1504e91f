"""Databases that may be tortured: a file, a server that others use too, or one of our own, which may be crashed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from sqlalchemy import create_engine, make_url, text

from tests import cluster
from tests.services import fresh_mariadb, fresh_postgres

DATABASES = ("postgresql", "mariadb", "sqlite")
STARTING = 60.0  # seconds


class Server(Protocol):
    """A database, and what can be done to it."""

    name: str
    url: str
    crashes: bool  # whether it may be

    def cut(self) -> object:
        """Take the database away from everybody who uses it at the moment."""
        ...

    def crash(self) -> None:
        """End it hard, and start it again."""
        ...


class File:
    """SQLite. There is no connection to cut and no server to crash: another writer is in the way."""

    name = "sqlite"
    crashes = False

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def cut(self, seconds: float = 3.0) -> None:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            pass  # somebody else was in the way for longer
        finally:
            connection.close()

    def crash(self) -> None:
        raise NotImplementedError


class Shared:
    """A database on a server that has other users: its connections are cut, and no more."""

    crashes = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = "postgresql" if url.startswith("postgresql") else "mariadb"

    def cut(self) -> None:
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                if self.name == "postgresql":
                    others = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}"))
                    return
                others = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
                for number in connection.execute(text(others)).scalars().all():
                    try:
                        connection.exec_driver_sql(f"KILL CONNECTION {number}")
                    except Exception:
                        continue  # it has gone by itself
        finally:
            engine.dispose()

    def crash(self) -> None:
        raise NotImplementedError


class OwnPostgres(Shared):
    """A server of ours, with its files in ``folder``."""

    crashes = True

    def __init__(self, programs: Path, folder: Path) -> None:
        super().__init__(f"postgresql+psycopg://postgres@/postgres?host={folder}")
        self._programs = programs
        self._data = folder / "data"
        self._log = folder / "log"
        self._user = _nobody(folder)
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", self._data)
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nmax_connections = 200\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", self._data, "-l", self._log)

    def crash(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data)

    def _run(self, program: str, *options: object) -> None:
        command = [str(self._programs / program), *map(str, options)]
        # Not a pipe, which the server would keep open.
        with (self._data.parent / "commands").open("ab") as output:
            subprocess.run(command, check=True, user=self._user, stdout=output, stderr=output)


class OwnMariaDB(Shared):
    """The same with MariaDB."""

    crashes = True

    def __init__(self, folder: Path) -> None:
        self._port = _free_port()
        super().__init__(f"mysql+pymysql://root@127.0.0.1:{self._port}/torture")
        self._data = folder / "data"
        self._log = folder / "log"
        self._user = _nobody(folder)
        as_user = () if self._user is None else (f"--user={self._user}",)
        with self._log.open("ab") as log:
            subprocess.run(
                [
                    _mariadb("mariadb-install-db", "mysql_install_db"),
                    *("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"),
                    *(f"--datadir={self._data}", *as_user),
                ],
                check=True,
                stdout=log,
                stderr=log,
            )
        self._command = [
            _mariadb("mariadbd", "mysqld"),
            *("--no-defaults", f"--datadir={self._data}", f"--socket={folder / 'socket'}", f"--port={self._port}"),
            *("--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--max-connections=200", *as_user),
        ]
        self.start()
        engine = create_engine(make_url(self.url).set(database=""))
        with engine.begin() as connection:
            connection.execute(text("CREATE DATABASE torture"))
        engine.dispose()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + STARTING
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"MariaDB does not start: {self._log.read_text()[-2000:]}") from None
                time.sleep(0.1)

    def crash(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@contextmanager
def server(name: str, folder: Path) -> Iterator[tuple[Server, str | None]]:
    """A database called ``name``, and what has to be left out with it, and why."""
    if name == "sqlite":
        yield File(folder / "torture.db"), None
    elif name == "postgresql" and (programs := cluster.programs()) is not None:
        with TemporaryDirectory(prefix="tj-torture-") as place:
            postgres = OwnPostgres(programs, Path(place))
            try:
                yield postgres, None
            finally:
                postgres.stop()
    elif name == "mariadb" and _mariadb("mariadbd", "mysqld") and _mariadb("mariadb-install-db", "mysql_install_db"):
        with TemporaryDirectory(prefix="tj-torture-") as place:
            mariadb = OwnMariaDB(Path(place))
            try:
                yield mariadb, None
            finally:
                mariadb.stop()
    else:
        with fresh_postgres() if name == "postgresql" else fresh_mariadb() as url:
            missing = "initdb and pg_ctl" if name == "postgresql" else "mariadbd and mariadb-install-db"
            yield (
                Shared(url),
                f"the server was not crashed: {missing} are not on this machine, and others use the one there is",
            )


def _mariadb(*names: str) -> str:
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"])
    return next((found for name in names if (found := shutil.which(name, path=places))), "")


def _nobody(folder: Path) -> str | None:
    """Whom a server runs as: neither of them does so as root."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
