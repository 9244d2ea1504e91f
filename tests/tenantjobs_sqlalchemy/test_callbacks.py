"""Methods that run after the commit, and jobs of new records."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, delete, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, sessionmaker

from tenantjobs import Current, Snapshot, job, later
from tenantjobs.errors import ConfigurationError, SerializationError, TenantMissing
from tenantjobs_sqlalchemy import after_create_commit, after_destroy_commit, after_update_commit
from tenantjobs_sqlalchemy.changes import NO_VALUE
from tests.tenantjobs_sqlalchemy.conftest import Joining, Recording

Maker = sessionmaker[Session]

seen: list[Any] = []


@job(name="tests.callbacks.note", tenancy="none")
def note(value: Any) -> None: ...


class Base(DeclarativeBase):
    pass


class Announced:
    """A mixin that carries a callback."""

    @after_create_commit
    def announce(self, changes: Any) -> None:
        seen.append(("created", self.id, changes["title"], Current.tenant_id))  # type: ignore[attr-defined]


class Stamped:
    """Another one: the class is heard of by way of both."""

    @after_update_commit
    def stamp(self) -> None: ...


class Shipment(Announced, Stamped, Base):
    __tablename__ = "shipments"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plain"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(80))

    @after_update_commit
    def retitle(self, changes: Any) -> None:
        seen.append(("updated", self.id, dict(changes)))

    @after_destroy_commit
    def forget(self) -> None:
        seen.append(("destroyed", self.title))

    @later(name="tests.callbacks.post", after_create=True)
    def post(self) -> None: ...

    post_later = later(post)


class Express(Shipment):
    __mapper_args__ = {"polymorphic_identity": "express"}

    @after_create_commit
    def hurry(self) -> None:
        seen.append(("hurry", self.title))


class Loud(Base):
    __tablename__ = "loud"

    id: Mapped[int] = mapped_column(primary_key=True)

    @after_create_commit
    def fail(self) -> None:
        raise RuntimeError("no")

    @after_create_commit
    @after_destroy_commit
    def enqueue(self) -> None:
        seen.append(note.perform_later(self.id).enqueued)


@pytest.fixture(autouse=True)
def tables(engine: Engine) -> Iterator[None]:
    seen.clear()
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Current.set(tenant_id="acme"):
        yield
    Base.metadata.drop_all(engine)


@pytest.fixture
def shipment(maker: Maker, elsewhere: Recording) -> int:
    with maker.begin() as session:
        session.add(Shipment(id=7, title="old"))
    seen.clear()
    elsewhere.batches.clear()
    return 7


def test_a_new_record_is_announced_once_after_the_commit(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        shipment = Shipment(title="a")
        session.add(shipment)
        session.flush()
        shipment.title = "b"
        session.flush()
        assert seen == []

    assert seen == [("created", 1, (None, "b"), "acme")]


def test_what_was_updated_is_told_once_with_all_that_changed(maker: Maker, shipment: int) -> None:
    with maker.begin() as session:
        record = session.get_one(Shipment, shipment)
        for title in ("x", "y"):
            record.title = title
            session.flush()

    assert seen == [("updated", 7, {"title": ("old", "y")})]


def test_what_was_changed_back_was_not_updated(maker: Maker, shipment: int) -> None:
    with maker.begin() as session:
        record = session.get_one(Shipment, shipment)
        for title in ("x", "old"):
            record.title = title
            session.flush()

    assert seen == []


def test_a_value_that_the_database_computes_is_a_change_too(maker: Maker, shipment: int) -> None:
    with maker.begin() as session:
        record = session.get_one(Shipment, shipment)
        record.title = Shipment.title + "er"  # type: ignore[assignment]  # as SQLAlchemy has it

    assert seen == [("updated", 7, {"title": ("old", NO_VALUE)})]


def test_a_deleted_record_can_still_be_read(maker: Maker, shipment: int) -> None:
    with maker.begin() as session:
        session.get_one(Shipment, shipment).title = "last"
        session.flush()
        session.delete(session.get_one(Shipment, shipment))

    assert seen == [("destroyed", "last")]


def test_created_and_deleted_in_one_transaction_is_nothing(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        shipment = Shipment(title="a")
        session.add(shipment)
        session.flush()
        session.delete(shipment)

    assert (seen, elsewhere.sent) == ([], [])


def test_a_deletion_that_is_rolled_back_leaves_the_record_created(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        shipment = Shipment(title="a")
        session.add(shipment)
        session.flush()
        savepoint = session.begin_nested()
        session.delete(shipment)
        session.flush()
        savepoint.rollback()

    assert len(seen) == len(elsewhere.sent) == 1


def test_a_rollback_and_a_rolled_back_savepoint_forget(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.add(Shipment(title="a"))
            session.flush()
            raise ZeroDivisionError
        with session.begin_nested():
            session.add(Shipment(id=20, title="b"))
    with maker() as session:
        session.add(Shipment(title="c"))
        session.flush()
        session.rollback()

    assert seen == [("created", 20, (None, "b"), "acme")]
    assert len(elsewhere.sent) == 1


def test_the_methods_of_bases_and_mixins_run_before_those_of_the_class(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        session.add(Express(id=3, title="fast"))

    assert seen == [("created", 3, (None, "fast"), "acme"), ("hurry", "fast")]
    assert len(elsewhere.sent) == 1


def test_an_error_stops_no_other_and_jobs_leave_at_once(
    maker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), maker.begin() as session:
        session.add(Loud())

    assert seen == [True]
    assert elsewhere.sent == [1]
    assert "fail after the create of a Loud" in caplog.text


def test_the_scope_is_that_of_the_call_though_the_flush_comes_later(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session, Current.switch("another", tenant_id="globex"):
        session.add(Shipment(title="a"))

    assert seen == [("created", 1, (None, "a"), "globex")]
    assert [envelope.tenant_id for envelope in elsewhere.envelopes] == ["globex"]


def test_a_record_reads_from_the_database_again_after_its_callbacks(maker: Maker, elsewhere: Recording) -> None:
    with maker() as session:
        shipment = Shipment(title="a")
        session.add(shipment)
        session.commit()
        assert "title" not in shipment.__dict__
        assert shipment.title == "a"


async def test_an_async_session_gets_it_anew_as_it_would_without_callbacks(
    amaker: async_sessionmaker[AsyncSession], elsewhere: Recording
) -> None:
    async with amaker() as session:
        session.add(Shipment(id=7, title="a"))
        await session.commit()
        shipment = await session.get_one(Shipment, 7)

        assert shipment.title == "a"


def test_statements_past_the_session_are_not_seen(maker: Maker, shipment: int, elsewhere: Recording) -> None:
    with maker.begin() as session:
        session.execute(delete(Shipment))
        session.execute(insert(Shipment).values(id=9, kind="plain", title="x"))

    assert seen == []


def test_a_job_of_a_new_record_is_written_in_its_transaction(maker: Maker, within: Joining) -> None:
    with maker.begin() as session:
        session.add_all([Shipment(title="a"), Shipment(title="b")])
        session.flush()

    assert len(within.writes) == 1
    assert len(within.stored) == 2


def test_a_job_of_a_new_record_needs_a_tenant(maker: Maker, elsewhere: Recording) -> None:
    with pytest.raises(TenantMissing), Current.restored(Snapshot()), maker.begin() as session:
        session.add(Shipment(title="a"))

    assert elsewhere.sent == []


def _unset() -> Any:
    from tenantjobs import Snapshot

    return Snapshot()


def test_a_session_that_nobody_follows_is_refused(engine: Engine, elsewhere: Recording) -> None:
    with pytest.raises(ConfigurationError, match="is not followed"), Session(engine) as session:
        session.add(Shipment(title="a"))
        session.flush()


async def test_async_sessions_run_callbacks_too(amaker: async_sessionmaker[AsyncSession], elsewhere: Recording) -> None:
    async with amaker.begin() as session:
        session.add(Shipment(title="a"))

    assert seen == [("created", 1, (None, "a"), "acme")]
    assert len(elsewhere.sent) == 1


def test_what_cannot_run_after_a_commit_is_refused() -> None:
    async def announce(self: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="nobody awaits"):
        after_create_commit(announce)
    with pytest.raises(ConfigurationError, match="plain methods"):
        after_update_commit(later()(lambda self: None))
    with pytest.raises(ConfigurationError, match="called with the record"):
        after_destroy_commit(lambda self, changes, more: None)


def test_a_pending_record_gets_its_key_and_a_transient_one_is_refused(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        session.add(pending := Express(title="later"))
        pending.post_later()
        with pytest.raises(SerializationError, match="in no session"):
            Shipment(title="nowhere").post_later()

    assert len(elsewhere.sent) == 2


def test_another_session_does_not_decide(maker: Maker, elsewhere: Recording) -> None:
    with maker() as session:
        session.begin()
        session.add(Shipment(title="a"))
        with maker() as other:
            other.begin()
            session.flush()
            other.rollback()
        session.commit()

    assert len(seen) == len(elsewhere.sent) == 1


def test_abstract_bases_joined_tables_and_dataclasses_have_callbacks_and_jobs(
    engine: Engine, maker: Maker, elsewhere: Recording
) -> None:
    class Root(MappedAsDataclass, DeclarativeBase): ...

    class Abstract(Root):
        __abstract__ = True

        @later(name="tests.callbacks.ship", after_create=True)
        def ship(self) -> None: ...

    class Ship(Abstract):
        __tablename__ = "ships"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "ship"}

        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        kind: Mapped[str] = mapped_column(String(20), init=False)

    class Tanker(Ship):
        __tablename__ = "tankers"
        __mapper_args__ = {"polymorphic_identity": "tanker"}

        id: Mapped[int] = mapped_column(ForeignKey("ships.id"), primary_key=True, init=False)
        load: Mapped[int] = mapped_column(default=3)

        @after_create_commit
        def launch(self) -> None:
            seen.append(("launched", self.id, self.load))

    Root.metadata.drop_all(engine)
    Root.metadata.create_all(engine)
    with maker.begin() as session:
        session.add_all([Ship(), Tanker()])

    assert seen == [("launched", 2, 3)]
    assert len(elsewhere.sent) == 2
    Root.metadata.drop_all(engine)
