from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.configuration import Run, write
from tests.services import fresh_postgres

pytest.importorskip("sqlalchemy")

ENGINE = 'import sqlalchemy\nengine = sqlalchemy.create_engine("sqlite:///shop.db")\n'


@pytest.fixture(autouse=True)
def project(folder: Path) -> None:
    """An application whose database has no tables of the queue yet."""
    write(folder, ENGINE, "my_db.py")
    write(folder, 'adapter = "db"\n[db]\nengine = "my_db:engine"\n')


def tables(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    connection.close()
    return [name for (name,) in found]


def test_upgrade_makes_the_tables_and_then_has_nothing_to_do(tenantjobs: Run, folder: Path) -> None:
    first, second = tenantjobs("db", "upgrade").stdout, tenantjobs("db", "upgrade").stdout

    assert first.startswith("upgraded to version ")
    assert second.startswith("nothing to do: the tables are at version ")
    assert "tj_jobs" in tables(folder / "shop.db")


def test_upgrade_as_json(tenantjobs: Run) -> None:
    first, second = (json.loads(tenantjobs("db", "upgrade", "--json").stdout) for _ in range(2))

    assert first["applied"][-1] == first["version"]
    assert second == {"applied": [], "version": first["version"]}


def test_status_has_exit_code_1_until_the_tables_are_there(tenantjobs: Run) -> None:
    before = tenantjobs("db", "status", exit_code=1).stdout
    tenantjobs("db", "upgrade")
    after = tenantjobs("db", "status").stdout

    assert "run `tenantjobs db upgrade`" in before
    assert "as this release wants them" in after


def test_status_as_json(tenantjobs: Run) -> None:
    before = json.loads(tenantjobs("db", "status", "--json", exit_code=1).stdout)
    tenantjobs("db", "upgrade")
    after = json.loads(tenantjobs("db", "status", "--json").stdout)

    assert (before["version"], before["ok"]) == (0, False)
    assert after == {"version": before["wanted"], "wanted": before["wanted"], "ok": True, "problem": None}


def test_check_says_that_the_tables_are_missing(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "db"\napp = "my_db"\n[db]\nengine = "my_db:engine"\n')

    assert "run `tenantjobs db upgrade`" in tenantjobs("check", exit_code=1).stdout


class TestOutbox:
    """Its table is in the application's database, wherever the queue is."""

    @pytest.fixture(autouse=True)
    def apart(self, folder: Path) -> None:
        write(folder, ENGINE + "import tenantjobs\n\n\n@tenantjobs.job\ndef note(): ...\n", "my_db.py")
        write(
            folder,
            'adapter = "db"\napp = "my_db"\noutbox = true\n[db]\nengine = "my_db:engine"\nurl = "sqlite:///jobs.db"\n',
        )

    def test_upgrade_makes_its_table_too(self, tenantjobs: Run, folder: Path) -> None:
        output = tenantjobs("db", "upgrade").stdout

        assert "\noutbox: upgraded to version " in output
        assert "tj_outbox" in tables(folder / "shop.db")
        assert "tj_jobs" in tables(folder / "jobs.db")

    def test_upgrade_and_status_as_json(self, tenantjobs: Run) -> None:
        before = json.loads(tenantjobs("db", "status", "--json", exit_code=1).stdout)
        applied = json.loads(tenantjobs("db", "upgrade", "--json").stdout)
        after = json.loads(tenantjobs("db", "status", "--json").stdout)

        assert (before["outbox"]["version"], before["outbox"]["ok"]) == (0, False)
        assert applied["outbox"]["applied"][-1] == applied["outbox"]["version"]
        assert after["outbox"]["ok"]

    def test_status_and_check_see_that_it_is_missing(self, tenantjobs: Run) -> None:
        assert "outbox: the queue's schema is not there" in tenantjobs("db", "status", exit_code=1).stdout
        assert "run `tenantjobs db upgrade`" in tenantjobs("check", exit_code=1).stdout

        tenantjobs("db", "upgrade")

        assert "no problems" in tenantjobs("check").stdout

    def test_another_adapter_may_have_one(self, tenantjobs: Run, folder: Path) -> None:
        write(folder, 'adapter = "test"\napp = "my_db"\noutbox = true\n[db]\nengine = "my_db:engine"\n')

        assert "the outbox: the queue's schema is not there" in tenantjobs("check", exit_code=1).stdout
        assert tenantjobs("db", "upgrade").stdout.startswith("outbox: upgraded to version ")
        assert "no problems" in tenantjobs("check").stdout

    def test_check_says_that_it_needs_the_applications_engine(self, tenantjobs: Run, folder: Path) -> None:
        write(folder, 'adapter = "test"\napp = "my_db"\noutbox = true\n')

        assert 'engine = "shop.db:engine"' in tenantjobs("check", exit_code=1).stdout


def test_sql_is_printed_without_connecting_or_any_configuration(tenantjobs: Run, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()

    output = tenantjobs("db", "sql", "--dialect", "sqlite").stdout

    assert "CREATE TABLE IF NOT EXISTS tj_schema" in output
    assert "tj_jobs" in tenantjobs("db", "sql", "--dialect", "postgresql").stdout
    assert list(folder.iterdir()) == []


def test_the_sql_that_is_printed_makes_the_same_tables(tenantjobs: Run, folder: Path) -> None:
    tenantjobs("db", "upgrade")
    with sqlite3.connect(folder / "by_hand.db") as connection:
        connection.executescript(tenantjobs("db", "sql", "--dialect", "sqlite").stdout)
    connection.close()

    assert tables(folder / "by_hand.db") == tables(folder / "shop.db")


def test_sql_of_steps_that_are_taken_already_is_left_out(tenantjobs: Run) -> None:
    assert "tj_jobs" not in tenantjobs("db", "sql", "--dialect", "sqlite", "--since", "999").stdout


def test_an_unknown_dialect_is_an_error_that_names_the_known_ones(tenantjobs: Run) -> None:
    result = tenantjobs("db", "sql", "--dialect", "oracle", exit_code=1)

    assert result.stderr.startswith("error: ")
    assert "postgresql" in result.stderr


def test_sql_is_that_of_the_configured_database_which_is_not_touched(tenantjobs: Run, folder: Path) -> None:
    assert tenantjobs("db", "sql").stdout == tenantjobs("db", "sql", "--dialect", "sqlite").stdout
    write(folder, 'adapter = "db"\n[db]\nurl = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"\n')
    assert tenantjobs("db", "sql").stdout == tenantjobs("db", "sql", "--dialect", "postgresql").stdout

    assert not (folder / "shop.db").exists()


def test_sql_without_a_database_wants_a_dialect_or_one(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "db"\n')

    assert "set url in the section [db]" in tenantjobs("db", "sql", exit_code=1).stderr


def test_upgrade_leaves_tables_of_a_newer_release_alone(tenantjobs: Run, folder: Path) -> None:
    tenantjobs("db", "upgrade")
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("INSERT INTO tj_schema VALUES (999, CURRENT_TIMESTAMP)")
    connection.close()

    assert "install the release that upgraded it" in tenantjobs("db", "upgrade", exit_code=1).stderr


@pytest.mark.parametrize("command", ["upgrade", "status"])
def test_another_adapter_has_no_tables_and_is_told_the_way_out(tenantjobs: Run, command: str) -> None:
    result = tenantjobs("--adapter", "inline", "db", command, exit_code=1)

    assert "the adapter 'inline' has no tables" in result.stderr
    assert "--adapter db" in result.stderr


def test_a_database_that_does_not_answer_is_an_error_without_a_traceback(
    tenantjobs: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 'adapter = "db"\n')
    monkeypatch.setenv("TENANTJOBS_DB_URL", "sqlite:////no/such/folder/jobs.db")

    result = tenantjobs("db", "status", exit_code=1)

    assert "error: the database of the queue does not answer: sqlite:////no/such/folder/jobs.db: " in result.stderr
    assert "unable to open database file" in result.stderr
    assert "is TENANTJOBS_DB_URL right?" in result.stderr


@pytest.mark.postgres
def test_upgrade_and_status_on_postgresql(tenantjobs: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'adapter = "db"\n')
    with fresh_postgres() as url:
        monkeypatch.setenv("TENANTJOBS_DB_URL", url)

        assert "is not there" in tenantjobs("db", "status", exit_code=1).stdout
        assert tenantjobs("db", "upgrade").stdout.startswith("upgraded")
        assert "as this release wants them" in tenantjobs("db", "status").stdout
