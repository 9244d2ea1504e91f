"""``locked``: the record as it is now, and nobody else changes it until the transaction ends."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, event, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Current
from tenantjobs.errors import ConfigurationError, RecordGone
from tenantjobs_sqlalchemy import locked
from tests.tenantjobs_sqlalchemy.conftest import ENGINES, MARIADB, Account, Card, database

url = database(*ENGINES, MARIADB)

Maker = sessionmaker[Session]
AsyncMaker = async_sessionmaker[AsyncSession]


@pytest.fixture
def account(engine: Engine) -> int:
    with Session(engine) as session:
        account = Account(name="0")
        session.add(account)
        session.commit()
        return account.id


def rename(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(Account.__table__).values(name=name))  # type: ignore[arg-type]


def test_the_record_is_read_again(maker: Maker, engine: Engine, account: int) -> None:
    with maker(expire_on_commit=False) as session:
        record = session.get_one(Account, account)
        session.commit()
        rename(engine, "changed meanwhile")
        assert record.name == "0"

        with locked(record) as same:
            assert same is record
            assert record.name == "changed meanwhile"


def test_nobody_reads_and_writes_between_reading_and_writing(maker: Maker, engine: Engine, account: int) -> None:
    together = threading.Barrier(4)

    def add() -> None:
        for _ in range(5):
            with maker(expire_on_commit=False) as session:
                record = session.get_one(Account, account)
                session.commit()
                together.wait()  # all of them have read the same
                with locked(record):
                    record.name = str(int(record.name) + 1)
                session.commit()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with Session(engine) as session:
        assert session.get_one(Account, account).name == "20"


def test_changes_are_flushed_under_the_lock_and_end_with_the_transaction(
    maker: Maker, engine: Engine, account: int
) -> None:
    sent: list[str] = []
    with maker() as session:
        record = session.get_one(Account, account)
        event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: sent.append(statement))
        with locked(record):
            record.name = "changed"
        assert sent[-1].startswith("UPDATE accounts SET name=")
        session.rollback()
        assert record.name == "0"


def test_a_record_that_is_gone_is_said_to_be(maker: Maker, engine: Engine, account: int) -> None:
    with maker(expire_on_commit=False) as session:
        record = session.get_one(Account, account)
        session.commit()
        with engine.begin() as connection:
            connection.execute(Account.__table__.delete())  # type: ignore[attr-defined]
        with pytest.raises(RecordGone, match=r"Account .* does not exist any more"), locked(record):
            pytest.fail("there is nothing to lock")


def test_changes_that_the_reading_would_lose_are_refused(maker: Maker, account: int) -> None:
    with maker() as session:
        record = session.get_one(Account, account)
        record.name = "not flushed"
        with pytest.raises(ConfigurationError, match="changes that are not flushed"), locked(record):
            pytest.fail("it was locked")
        assert record.name == "not flushed"


def test_what_cannot_be_locked_is_refused(maker: Maker, account: int) -> None:
    with maker() as session:
        detached = session.get_one(Account, account)
        session.expunge(detached)
    for wrong, why in (
        (detached, "in no session"),
        (Account(name="new"), "not in the database"),
        ("text", "a record of a mapped class"),
    ):
        with pytest.raises(ConfigurationError, match=why), locked(wrong):
            pytest.fail("it was locked")


async def test_a_record_of_an_async_session_is_locked_by_async_with(
    amaker: AsyncMaker, engine: Engine, account: int
) -> None:
    async with amaker(expire_on_commit=False) as session:
        record = await session.get_one(Account, account)
        await session.commit()
        rename(engine, "changed meanwhile")
        async with locked(record) as same:
            assert same is record
            assert record.name == "changed meanwhile"
            record.name = "and again"
        await session.commit()

    with engine.connect() as connection:
        assert connection.scalar(Account.__table__.select().with_only_columns(Account.name)) == "and again"


async def test_the_wrong_colour_is_refused(amaker: AsyncMaker, maker: Maker, account: int) -> None:
    async with amaker() as session:
        record = await session.get_one(Account, account)
        with pytest.raises(ConfigurationError, match="async with"), locked(record):
            pytest.fail("it was locked")
    with maker() as plain:
        record = plain.get_one(Account, account)
        with pytest.raises(ConfigurationError, match="write `with"):
            async with locked(record):
                pytest.fail("it was locked")


def test_a_record_of_a_tenant_is_locked_in_its_scope(maker: Maker, engine: Engine) -> None:
    with maker() as session, Current.set(tenant_id="7"):
        card = Card(title="a")
        session.add(card)
        session.commit()
        with locked(card):
            card.title = "b"
        session.commit()
        assert card.title == "b"
