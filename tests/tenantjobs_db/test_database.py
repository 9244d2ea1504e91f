from __future__ import annotations

from pathlib import Path

from sqlalchemy import event, text

from tenantjobs_db.database import own


def test_a_connection_that_is_in_use_while_its_database_is_closed_is_closed_when_it_comes_back(tmp_path: Path) -> None:
    database = own(f"sqlite:///{tmp_path / 'queue.db'}")
    opened: list[object] = []
    gone: list[object] = []
    event.listen(database.engine, "connect", lambda connection, _: opened.append(connection))
    event.listen(database.engine, "close", lambda connection, _: gone.append(connection))

    with database.begin() as connection:
        database.close()
        assert connection.execute(text("SELECT 1")).scalar_one() == 1, "whoever uses it goes on"
        assert gone == []

    assert len(opened) == 1
    assert gone == opened
