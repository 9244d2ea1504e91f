from __future__ import annotations

from tenantjobs_db.entries_read import EntriesRead


def test_what_a_statement_has_read_is_what_its_connection_has_read_since_the_last_one() -> None:
    read = EntriesRead()

    assert [read.since(1, 100), read.since(1, 150), read.since(2, 30), read.since(1, 150)] == [0, 50, 0, 0]


def test_once_the_server_has_taken_note_the_count_begins_anew() -> None:
    read = EntriesRead()

    assert [read.since(1, 100), read.since(1, 20), read.since(1, 50)] == [0, 20, 30]


def test_a_server_that_does_not_count_has_read_nothing() -> None:
    assert EntriesRead().since(1, None) == 0
