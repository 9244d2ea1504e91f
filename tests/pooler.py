"""A PgBouncer of our own, in transaction mode, in front of the server of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import URL, make_url

from tests.services import missing

PORT = 6432  # the number in the name of a socket in a folder of its own, so that nobody else has it
SERVER_CONNECTIONS = 2
PATIENCE = 10.0  # seconds

CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
listen_port = {own}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
"""


@contextmanager
def pgbouncer(url: str | URL) -> Iterator[URL]:
    """The same database as the same role, by way of the pooler. The test is skipped, loudly, where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("PgBouncer", "install it, as by `apt-get install pgbouncer`")
    target = make_url(url)
    with TemporaryDirectory(prefix="tj-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o777)  # PgBouncer does not run as root, and reads and listens here as somebody else
        (folder / "users").write_text(f'"{target.username}" ""\n')
        (folder / "ini").write_text(
            CONFIGURATION.format(
                host=target.host, port=target.port or 5432, connections=SERVER_CONNECTIONS, own=PORT, folder=folder
            )
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, str(folder / "ini")],
                user="nobody" if os.geteuid() == 0 else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _await(process, folder)
            yield target.set(host=None, port=None).update_query_dict({"host": str(folder), "port": str(PORT)})
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(folder / f".s.PGSQL.{PORT}")) == 0:
                return
        time.sleep(0.01)
    pytest.fail(f"PgBouncer did not start:\n{(folder / 'log').read_text()}")
