from __future__ import annotations

import pytest

from tenantjobs_sqlalchemy.writing import writes


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "  select * from orders FOR UPDATE",
        "/* from: checkout */ -- twice\n (SELECT 1) UNION (SELECT 2)",
        "WITH found AS (SELECT 1) SELECT * FROM found FOR UPDATE",
        "WITH found AS (SELECT updated, deletes FROM inserts) SELECT * FROM found FOR NO KEY UPDATE",
        "SET LOCAL lock_timeout = 100",
        "PRAGMA journal_mode",
        "SAVEPOINT sa_savepoint_1",
        "VALUES (1)",
    ],
)
def test_a_statement_that_reads(statement: str) -> None:
    assert writes(statement) is False


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders VALUES (1)",
        "/* SELECT */ update orders set name = 'a'",
        "DELETE FROM orders",
        "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
        "CREATE TABLE t (id int)",
        "CALL settle()",
        "",
    ],
)
def test_a_statement_that_writes_or_may_do_so(statement: str) -> None:
    assert writes(statement) is True
