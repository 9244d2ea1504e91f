"""How a scoped model may be declared: names and types of the column, inheritance, dataclasses, shared bases."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, Integer, MetaData, String, Uuid, create_engine, delete, func, insert, select, update
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    joinedload,
    lazyload,
    mapped_column,
    registry,
    relationship,
    selectinload,
    subqueryload,
)

from tenantjobs import testing
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, TenantMissing, WrongTenant
from tenantjobs_sqlalchemy import TenantScoped
from tenantjobs_sqlalchemy.scoping import tenant_column

ACME = UUID("6f2c1a30-5d3b-4a0e-9f57-0c8f3d6f9a01")
GLOBEX = UUID("b9a1c7de-21b5-4f38-8a44-5d0e7a3c1b02")


class Base(DeclarativeBase):
    pass


class Owned(TenantScoped):
    """A mixin of the application, which says the same of all its models."""

    __tenant_column__ = "account_id"

    account_id: Mapped[UUID] = mapped_column("account", Uuid(), index=True)


class Invoice(Owned, Base):
    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "invoice"}


class Reminder(Invoice):
    __tablename__ = "reminders"

    id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), primary_key=True)
    fee: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "reminder"}


class Letter(Reminder):
    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(ForeignKey("reminders.id"), primary_key=True)
    pages: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "letter"}


reminders: Any = Reminder.__table__


class Tag(TenantScoped, Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    labelled: Mapped[list[Label]] = relationship(secondary="tagging")


class Label(TenantScoped, Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]


class Tagging(TenantScoped, Base):
    __tablename__ = "tagging"

    tag_id: Mapped[int] = mapped_column(ForeignKey(Tag.id), primary_key=True)
    label_id: Mapped[int] = mapped_column(ForeignKey(Label.id), primary_key=True)
    tenant_id: Mapped[int]


class Payment(TenantScoped, Base):
    """Its tenant is a part of the keys, so that the database holds it too."""

    __tablename__ = "payments"

    tenant_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(40))


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session, Current.system("test"):
        for owner in (ACME, GLOBEX):
            session.add(Invoice(text=f"of {owner}", account_id=owner))
            session.add(Reminder(text=f"of {owner}", account_id=owner, fee=1))
        session.add_all([Payment(tenant_id=1, number=1, text="a"), Payment(tenant_id=2, number=1, text="b")])
        session.commit()
    with Session(engine) as session:
        yield session
    engine.dispose()


def acme() -> Any:
    return Current.set(tenant_id=ACME)


class TestAnotherColumn:
    def test_filters_and_fills(self, session: Session) -> None:
        with acme():
            invoice = Invoice(text="new")
            session.add(invoice)
            session.commit()
            session.execute(insert(Invoice), [{"text": "bulk", "kind": "invoice"}])

            assert invoice.account_id == invoice.tenant_id == ACME
            assert set(session.scalars(select(Invoice.account_id))) == {ACME}
            assert set(session.scalars(select(Invoice.tenant_id))) == {ACME}
            assert session.scalar(select(func.count()).select_from(Invoice.__table__)) == 4

    def test_refuses(self, session: Session) -> None:
        with acme():
            for write in (
                lambda: (session.add(Invoice(text="x", account_id=GLOBEX)), session.flush()),
                lambda: session.execute(insert(Invoice).values(text="x", kind="invoice", account_id=GLOBEX)),
                lambda: session.execute(update(Invoice).values(account_id=GLOBEX)),
            ):
                with pytest.raises(WrongTenant):
                    write()
                session.rollback()

    def test_has_to_be_declared(self) -> None:
        class Base(DeclarativeBase):
            pass

        with pytest.raises(ConfigurationError, match="Letter is TenantScoped and has no column 'owner_id'"):

            class Letter(TenantScoped, Base):
                __tablename__ = "letters"
                __tenant_column__ = "owner_id"
                id: Mapped[int] = mapped_column(primary_key=True)

    def test_is_known_of_the_table_and_of_its_copies(self) -> None:
        copy = Invoice.__table__.to_metadata(MetaData())  # type: ignore[attr-defined]  # of a table

        assert tenant_column(copy) is copy.c.account
        assert pickle.loads(pickle.dumps(copy)).name == "invoices"


class TestIds:
    @pytest.mark.parametrize("written", [str(ACME), str(ACME).upper(), ACME])
    def test_are_compared_as_canonical_text(self, session: Session, written: Any) -> None:
        with Current.set(tenant_id=written):
            assert set(session.scalars(select(Invoice.account_id))) == {ACME}

            session.add(Invoice(text="x", account_id=ACME))
            session.flush()

    def test_may_be_a_part_of_the_key(self, session: Session) -> None:
        with Current.set(tenant_id=1):
            own = session.get_one(Payment, (1, 1))
            own.text = "changed"
            session.add(Payment(number=2, text="new"))
            session.commit()

            assert session.get(Payment, (2, 1)) is None
            with pytest.raises(WrongTenant):
                session.execute(update(Payment), [{"tenant_id": 2, "number": 1, "text": "mine"}])


class TestInheritance:
    def test_a_table_of_a_subclass_is_read_with_that_of_its_base(self, session: Session) -> None:
        with acme():
            [reminder] = session.scalars(select(Reminder))
            session.commit()

            assert reminder.fee == 1
            assert [each.account_id for each in session.scalars(select(Invoice))] == [ACME, ACME]

    def test_its_rows_are_changed_and_deleted_for_their_tenant_only(self, session: Session) -> None:
        with Current.system("test"):
            own, foreign = session.scalars(select(Reminder).order_by(Reminder.id))
            for record in (own, foreign):
                session.expunge(record)
        with acme():
            session.bulk_update_mappings(Reminder, [{"id": own.id, "fee": 2}])  # type: ignore[arg-type]  # a mapper
            session.commit()
            with pytest.raises(WrongTenant):
                session.bulk_update_mappings(Reminder, [{"id": foreign.id, "fee": 2}])  # type: ignore[arg-type]
            session.rollback()
            session.execute(update(Reminder.__table__).values(fee=3))  # type: ignore[arg-type]  # a table
            session.delete(session.get_one(Reminder, own.id))
            session.commit()
        with Current.system("test"):
            assert [(each.id, each.fee) for each in session.scalars(select(Reminder))] == [(foreign.id, 1)]

    def test_its_own_table_alone_is_narrowed(self, session: Session) -> None:
        with acme():
            assert len(session.execute(select(reminders)).all()) == 1

    @pytest.fixture
    def letters(self, session: Session) -> list[int]:
        """The ids of a letter of acme and of one of globex, which has three parts."""
        with Current.system("test"):
            made = [Letter(text=f"to {owner}", account_id=owner, fee=1, pages=1) for owner in (ACME, GLOBEX)]
            session.add_all(made)
            session.commit()
            return [letter.id for letter in made]

    def test_statements_on_it_reach_the_rows_of_the_tenant_only(self, session: Session, letters: list[int]) -> None:
        with acme():
            session.execute(update(Reminder).values(fee=2))
            session.execute(update(Letter).values(pages=2))
            of_fee = (Letter.__table__.c.id == reminders.c.id, reminders.c.fee == 2)
            session.execute(update(Letter).where(*of_fee).values(pages=3))
            session.execute(delete(Letter).where(Letter.pages == 3))
            session.commit()
        with Current.system("test"):
            fees = session.execute(select(reminders.c.fee).order_by(reminders.c.id)).scalars().all()
            pages = session.execute(select(Letter.__table__)).all()
        assert (fees, [tuple(row) for row in pages]) == ([2, 1, 2, 1], [(letters[1], 1)])

    @pytest.mark.parametrize(
        "statement",
        [
            select(Invoice.id, reminders.c.fee).where(Invoice.id != reminders.c.id),
            select(Invoice.id, reminders.c.fee).select_from(reminders).outerjoin(Invoice, Invoice.id == reminders.c.id),
            select(Invoice.id, reminders.c.fee).outerjoin(reminders, reminders.c.fee == Invoice.id),
            select(reminders.alias().c.fee),
        ],
    )
    def test_its_own_table_is_no_way_past_its_base(self, session: Session, statement: Any) -> None:
        with acme(), pytest.raises(WrongTenant, match="reminders"):
            session.execute(statement)

    def test_its_own_table_may_be_joined_to_its_base(self, session: Session) -> None:
        with acme():
            joined = select(Invoice.id, reminders.c.fee).outerjoin(reminders, reminders.c.id == Invoice.id)
            assert [row.fee for row in session.execute(joined.order_by(Invoice.id))] == [None, 1]

    def test_rows_of_all_its_tables_are_written_for_the_tenant_only(self, session: Session, letters: list[int]) -> None:
        own, foreign = letters
        row = {"text": "x", "fee": 1, "pages": 1}
        with acme():
            session.execute(insert(Letter), [row])
            session.execute(update(Letter), [{"id": own, "text": "y", "fee": 2, "pages": 2}])
            session.commit()
            for write in (
                lambda: session.execute(insert(Letter), [row | {"account_id": GLOBEX}]),
                lambda: session.execute(update(Letter), [{"id": own, "account_id": GLOBEX}]),
                lambda: session.execute(update(Letter), [{"id": foreign, "text": "z"}]),
                lambda: session.execute(update(Letter), [{"id": foreign, "fee": 3}]),
                lambda: session.execute(update(Letter), [{"id": foreign, "pages": 3}]),
            ):
                with pytest.raises(WrongTenant):
                    write()
                session.rollback()


class TestAssociations:
    """A table that only tells which records belong together, and belongs to tenants itself."""

    @pytest.fixture
    def tags(self, session: Session) -> list[int]:
        found = []
        for tenant_id in ("1", "2"):
            with Current.set(tenant_id=tenant_id):
                tag = Tag(labelled=[Label(), Label()])
                session.add(tag)
                session.commit()
                found.append(tag.id)
                session.commit()
        return found

    @pytest.mark.parametrize("option", [lazyload, selectinload, joinedload, subqueryload])
    def test_is_followed(self, session: Session, tags: list[int], option: Any) -> None:
        with Current.set(tenant_id="1"):
            [tag] = session.scalars(select(Tag).options(option(Tag.labelled))).unique()

            assert [label.tenant_id for label in tag.labelled] == [1, 1]
            assert session.scalars(select(Label.id).join(Tag.labelled).where(Tag.labelled.any())).all() == [1, 2]
            assert len(session.execute(select(Tagging)).all()) == 2

    def test_is_written(self, session: Session, tags: list[int]) -> None:
        with Current.set(tenant_id="1"):
            tag = session.get_one(Tag, tags[0])
            tag.labelled.pop()
            session.commit()
        with Current.system("test"):
            assert session.scalars(select(Tagging.tenant_id).order_by(Tagging.tenant_id)).all() == [1, 2, 2]

    @pytest.mark.parametrize(
        "statement",
        [
            select(Tag.id, Tagging.__table__).where(Tag.id != Tagging.tag_id),
            select(Tag.id, Tagging.__table__).outerjoin(Tag, Tag.id == Tagging.tag_id),
            select(Tag.id, Tagging.__table__).join(Tagging.__table__, Tagging.label_id == Tag.id),
        ],
    )
    def test_is_no_way_past_the_tenant(self, session: Session, tags: list[int], statement: Any) -> None:
        with Current.set(tenant_id="1"):
            try:
                rows = session.execute(statement).all()
            except WrongTenant:
                return

            assert all(row.tenant_id == 1 for row in rows)


class TestMappings:
    def test_concrete_subclasses_of_an_abstract_base(self) -> None:
        class Base(DeclarativeBase):
            pass

        class Paper(TenantScoped, AbstractConcreteBase, Base):
            strict_attrs = True

        class Letter(Paper):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True)
            __mapper_args__ = {"polymorphic_identity": "letter", "concrete": True}

        Base.registry.configure()
        self.works(Letter, Base.metadata)

    def test_the_column_is_of_the_type_that_it_says(self) -> None:
        assert isinstance(Tag.__table__.c.tenant_id.type, Integer)

    def test_a_base_may_be_scoped_itself(self) -> None:
        class Base(TenantScoped, DeclarativeBase):
            tenant_id: Mapped[int] = mapped_column(index=True)

        class Letter(Base):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True)

        self.works(Letter, Base.metadata)

    def test_dataclasses(self) -> None:
        class Base(MappedAsDataclass, DeclarativeBase):
            pass

        class Letter(TenantScoped, Base):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True, init=False)
            tenant_id: Mapped[int] = mapped_column(index=True, init=False)

        self.works(Letter, Base.metadata)

    def test_dataclasses_without_a_column_of_their_own(self) -> None:
        class Base(MappedAsDataclass, DeclarativeBase):
            pass

        class Letter(TenantScoped, Base):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True, init=False)

        self.works(Letter, Base.metadata)

    def test_a_registry(self) -> None:
        mapping = registry()

        @mapping.mapped
        class Letter(TenantScoped):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True)

        self.works(Letter, mapping.metadata)

    def works(self, model: Any, metadata: MetaData) -> None:
        engine = create_engine("sqlite://")
        metadata.create_all(engine)
        with Session(engine) as session:
            for tenant_id in ("1", "2"):
                with Current.set(tenant_id=tenant_id):
                    session.add(model())
                    session.commit()

                    assert [str(each.tenant_id) for each in session.scalars(select(model))] == [tenant_id]
                    session.rollback()
            with pytest.raises(TenantMissing):
                session.scalars(select(model))
        engine.dispose()


class TestObserving:
    def test_a_missing_tenant_is_only_reported(self, session: Session, caplog: pytest.LogCaptureFixture) -> None:
        with testing.override(tenancy="observe"), caplog.at_level(logging.WARNING, "tenantjobs.sqlalchemy"):
            assert len(session.scalars(select(Invoice)).all()) == 4
            session.scalars(select(Invoice)).first().text = "changed"  # type: ignore[union-attr]  # there are some
            session.execute(update(Invoice).values(text="all"))
            session.flush()

        assert "belongs to tenants and was used without one" in caplog.text

    def test_what_is_another_tenants_is_refused_all_the_same(self, session: Session) -> None:
        with testing.override(tenancy="observe"), acme():
            session.add(Invoice(text="x", account_id=GLOBEX))
            with pytest.raises(WrongTenant):
                session.flush()
