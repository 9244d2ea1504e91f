"""What was measured, as it is kept beside this module."""

from __future__ import annotations

from pathlib import Path

import msgspec

HERE = Path(__file__).parent
KIT, MATRIX = HERE / "kit.json", HERE / "matrix.json"

# Each queue that the kit is run on, and its test class.
COLUMNS = {
    "db on SQLite": "tests/tenantjobs_db/test_contract.py::TestSqlite",
    "db on PostgreSQL": "tests/tenantjobs_db/test_contract.py::TestPostgres",
    "db on MariaDB": "tests/tenantjobs_db/test_contract.py::TestMariadb",
    "celery on RabbitMQ": "tests/tenantjobs_celery/test_contract.py::TestRabbitMQ",
    "celery on Redis": "tests/tenantjobs_celery/test_contract.py::TestRedis",
    "dramatiq on RabbitMQ": "tests/tenantjobs_dramatiq/test_contract.py::TestRabbitMQ",
    "dramatiq on Redis": "tests/tenantjobs_dramatiq/test_contract.py::TestRedis",
    "rq": "tests/tenantjobs_rq/test_contract.py::TestRq",
    "inline": "tests/tenantjobs/test_inline_contract.py::TestInline",
}

# What both the kit and the matrix say the version of.
LIBRARIES = ("sqlalchemy", "psycopg", "celery", "kombu", "dramatiq", "rq", "redis", "msgspec", "click", "cronsim")


class Column(msgspec.Struct):
    """One queue: what its adapter declares, what its harness says, and what became of each case."""

    capabilities: dict[str, bool] = {}
    says: dict[str, bool] = {}
    cases: dict[str, str] = {}  # "passed", "failed", or why it was skipped


class Kit(msgspec.Struct):
    """One run of the kit on every queue."""

    versions: dict[str, str]
    columns: dict[str, Column]


class Environment(msgspec.Struct):
    """One column of the matrix: the whole suite on some versions."""

    python: str
    versions: dict[str, str]
    outcome: str
    passed: int = 0
    skipped: int = 0
    failed: list[str] = []
    passed_alone: list[str] = []  # which failed in the company of others


def read_kit(path: Path = KIT) -> Kit:
    return msgspec.json.decode(path.read_bytes(), type=Kit)


def read_matrix() -> dict[str, Environment]:
    return msgspec.json.decode(MATRIX.read_bytes(), type=dict[str, Environment]) if MATRIX.exists() else {}


def write(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
