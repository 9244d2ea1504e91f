from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, Integer, String, delete, exists, func, insert, select, union, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    aliased,
    joinedload,
    mapped_column,
    selectinload,
    sessionmaker,
    subqueryload,
)

from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, TenantMissing, WrongTenant
from tenantjobs_sqlalchemy import TenantScoped
from tests.tenantjobs_sqlalchemy.conftest import ENGINES, MARIADB, Account, Card, Comment, Order, Statements, database

url = database(*ENGINES, MARIADB)

ACME, GLOBEX = "1", "2"


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """Two tenants; acme has the odd cards and comments, globex the even ones. Each card has one comment of each."""
    with engine.begin() as connection:
        connection.execute(insert(Account), [{"id": 1, "name": "acme"}, {"id": 2, "name": "globex"}])
        connection.execute(
            insert(Card), [{"id": n, "title": f"card {n}", "tenant_id": str(2 - n % 2)} for n in range(1, 5)]
        )
        connection.execute(
            insert(Comment),
            [{"id": n, "tenant_id": 2 - n % 2, "card_id": (n + 1) // 2} for n in range(1, 9)],
        )
        if engine.dialect.name == "postgresql":
            for table in ("accounts", "cards", "comments"):
                connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', 100)")
    with Session(engine) as session:
        yield session


def acme() -> Any:
    return Current.set(tenant_id=ACME)


class TestReads:
    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param(select(Card), id="entity"),
            pytest.param(select(Card.id), id="column"),
            pytest.param(select(aliased(Card)), id="alias"),
            pytest.param(select(Card).where(Card.id.in_(select(Comment.card_id))), id="where"),
            pytest.param(select(func.count()).select_from(Card), id="count"),
            pytest.param(select(select(Card.id).subquery()), id="subquery"),
            pytest.param(select(select(Card.id).cte()), id="cte"),
            pytest.param(union(select(Card.id).where(Card.id < 3), select(Card.id).where(Card.id > 2)), id="union"),
            pytest.param(select(Card.id).join(Comment), id="join"),
        ],
    )
    def test_a_query_sees_the_rows_of_the_tenant(self, session: Session, statement: Any) -> None:
        for tenant_id, ids in ((ACME, {1, 3}), (GLOBEX, {2, 4}), (ACME, {1, 3})):
            with Current.set(tenant_id=tenant_id):
                found = [getattr(row, "id", row) for row in session.scalars(statement)]
                session.rollback()

            assert set(found) == ids or found == [2]

    def test_a_query_of_columns_of_two_models_filters_both(self, session: Session) -> None:
        with acme():
            rows = session.execute(select(Card.id, Comment.id).join(Comment.card).order_by(Comment.id)).all()

        assert [tuple(row) for row in rows] == [(1, 1), (3, 5)]

    def test_get(self, session: Session) -> None:
        with acme():
            assert session.get(Card, 1) is not None
            assert session.get(Card, 2) is None

    @pytest.mark.parametrize("option", [None, selectinload, joinedload, subqueryload])
    def test_relationships_are_filtered_however_they_are_loaded(self, session: Session, option: Any) -> None:
        statement = select(Card).order_by(Card.id)
        if option is not None:
            statement = statement.options(option(Card.comments))
        with acme():
            found = [[comment.id for comment in card.comments] for card in session.scalars(statement).unique()]

        assert found == [[1], [5]]

    def test_a_lazy_load_asks_for_the_tenant_once(self, session: Session, engine: Engine) -> None:
        statements = Statements(engine)
        with acme():
            [card, *_] = session.scalars(select(Card).order_by(Card.id))
            assert [comment.id for comment in card.comments] == [1]

        assert statements.seen[-1].count("comments.tenant_id =") == 1

    def test_a_lazy_load_of_what_was_loaded_in_system_scope_is_filtered_too(self, session: Session) -> None:
        with Current.system("test"):
            card = session.get_one(Card, 1)
        with acme():
            assert [comment.id for comment in card.comments] == [1]

    def test_without_a_tenant_there_is_an_error_and_never_everything(self, session: Session) -> None:
        for statement in (select(Card), select(Card.id), select(func.count()).select_from(Comment)):
            with pytest.raises(TenantMissing, match="belongs to tenants"):
                session.execute(statement)

    def test_models_of_nobody_are_not_concerned(self, session: Session) -> None:
        assert session.scalars(select(Order)).all() == []

    def test_system_scope_sees_everything(self, session: Session) -> None:
        with Current.system("test"):
            assert len(session.scalars(select(Card)).all()) == 4

    def test_a_session_that_was_never_installed_sees_no_more(self, session: Session) -> None:
        with acme():
            assert len(session.scalars(select(Card)).all()) == 2

    def test_a_tenant_that_does_not_fit_the_column_is_an_error(self, session: Session) -> None:
        with Current.set(tenant_id="acme"):
            assert session.scalars(select(Card)).all() == []
            with pytest.raises(ConfigurationError, match=r"cannot be a comments\.tenant_id"):
                session.scalars(select(Comment)).all()

    def test_exists_is_filtered(self, session: Session) -> None:
        with acme():
            statement = select(Card.id).where(exists().where(Comment.card_id == Card.id, Comment.id == 2))
            found = session.scalars(statement).all()

        assert found in ([], [1])  # SQLAlchemy 2.0 does not look into EXISTS


class TestStatements:
    def test_updates_and_deletes_reach_the_rows_of_the_tenant(self, session: Session) -> None:
        with acme():
            updated = session.execute(update(Card).values(title="mine"))
            deleted = session.execute(delete(Comment).where(Comment.id < 5))
            session.commit()
        with Current.system("test"):
            titles = session.scalars(select(Card.title).order_by(Card.id)).all()
            comments = session.scalars(select(Comment.id).order_by(Comment.id)).all()

        assert (updated.rowcount, deleted.rowcount) == (2, 2)  # type: ignore[attr-defined]  # of a cursor result
        assert titles == ["mine", "card 2", "mine", "card 4"]
        assert comments == [2, 4, 5, 6, 7, 8]

    def test_without_a_tenant_they_are_refused(self, session: Session) -> None:
        for statement in (update(Card).values(title="mine"), delete(Card)):
            with pytest.raises(TenantMissing):
                session.execute(statement)


class TestFlush:
    def test_a_new_row_gets_the_tenant_in_the_type_of_its_column(self, session: Session) -> None:
        with acme():
            card = Card(title="new")
            comment = Comment(card=card)
            session.add(comment)
            session.flush()

        assert card.tenant_id == "1"
        assert comment.tenant_id == 1

    def test_a_row_of_another_tenant_is_not_inserted(self, session: Session) -> None:
        with acme():
            session.add(Card(title="new", tenant_id=GLOBEX))
            with pytest.raises(WrongTenant, match="of tenant 2 would be written in the scope of tenant 1"):
                session.flush()

    def test_nor_by_a_relationship(self, session: Session) -> None:
        with acme():
            card = Card(title="new")
            session.add(Comment(card=card, account=session.get(Account, 2)))
            with pytest.raises(WrongTenant):
                session.flush()

    @pytest.mark.parametrize("expired", [True, False])
    def test_a_row_of_another_tenant_is_not_changed(self, session: Session, expired: bool) -> None:
        with Current.system("test"):
            card = session.get_one(Card, 2)
        if expired:
            session.expire(card)
        with acme():
            card.title = "mine"
            with pytest.raises(WrongTenant, match="would be changed"):
                session.flush()

    @pytest.mark.parametrize("expired", [True, False])
    def test_nor_deleted(self, session: Session, expired: bool) -> None:
        with Current.system("test"):
            comment = session.get_one(Comment, 2)
        if expired:
            session.expire(comment)
        with acme():
            session.delete(comment)
            with pytest.raises(WrongTenant):
                session.flush()

    @pytest.mark.parametrize(("owner", "to"), [(1, GLOBEX), (2, ACME)])
    def test_a_row_is_not_moved(self, session: Session, owner: int, to: str) -> None:
        with Current.system("test"):
            card = session.get_one(Card, owner)
        with acme():
            card.tenant_id = to
            with pytest.raises(WrongTenant):
                session.flush()

    def test_rows_of_the_tenant_are_changed_and_deleted(self, session: Session) -> None:
        with acme():
            session.get_one(Card, 1).title = "mine"
            session.delete(session.get_one(Comment, 5))
            session.commit()

            assert session.get_one(Card, 1).title == "mine"
            assert session.get(Comment, 5) is None

    def test_without_a_tenant_nothing_is_flushed(self, session: Session) -> None:
        with Current.system("test"):
            card = session.get_one(Card, 1)
        card.title = "mine"
        with pytest.raises(TenantMissing):
            session.flush()
        session.rollback()
        for new in (Card(title="new"), Card(title="new", tenant_id=ACME)):
            session.add(new)
            with pytest.raises(TenantMissing):
                session.flush()
            session.rollback()

    def test_system_scope_writes_what_it_says(self, session: Session) -> None:
        with Current.system("test"):
            session.get_one(Card, 2).tenant_id = ACME
            session.add(Card(title="new", tenant_id=GLOBEX))
            session.commit()

    def test_rows_of_nobody_are_flushed_without_a_tenant(self, session: Session) -> None:
        session.add(Order(name="a"))
        session.commit()


async def test_async_sessions_are_scoped_alike(session: Session, amaker: async_sessionmaker[AsyncSession]) -> None:
    async with amaker() as asession:
        with acme():
            found = await asession.scalars(select(Card.id).order_by(Card.id))
            card = Card(title="new")
            asession.add(card)
            await asession.flush()

            assert found.all() == [1, 3]
            assert card.tenant_id == "1"

        with pytest.raises(TenantMissing):
            await asession.scalars(select(Card))
        await asession.rollback()


class TestMapping:
    def test_the_column_is_a_text_with_an_index_by_default(self) -> None:
        column = Card.__table__.c.tenant_id

        assert isinstance(column.type, String)
        assert (column.index, column.nullable) == (True, False)
        assert isinstance(Comment.__table__.c.tenant_id.type, Integer)

    def test_subclasses_share_the_column_of_their_base(self, engine: Engine) -> None:
        class Base(DeclarativeBase):
            pass

        class Document(TenantScoped, Base):
            __tablename__ = "documents"
            id: Mapped[int] = mapped_column(primary_key=True)
            kind: Mapped[str] = mapped_column(String(20))
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}

        class Contract(Document):
            __mapper_args__ = {"polymorphic_identity": "contract"}

        Base.metadata.create_all(engine)
        with Session(engine) as session:
            for tenant_id in (ACME, GLOBEX):
                with Current.set(tenant_id=tenant_id):
                    session.add(Contract())
                    session.commit()
            with acme():
                found = [each.tenant_id for each in session.scalars(select(Contract))]
            session.commit()
        Base.metadata.drop_all(engine)

        assert found == ["1"]
        assert "tenant_id" in Document.__table__.c

    def test_a_class_that_is_mapped_as_a_dataclass_keeps_its_own_fields(self, engine: Engine) -> None:
        class Base(MappedAsDataclass, DeclarativeBase):
            pass

        class Letter(TenantScoped, Base):
            __tablename__ = "letters"
            id: Mapped[int] = mapped_column(primary_key=True, init=False)
            text: Mapped[str] = mapped_column(String(20))

        Base.metadata.create_all(engine)
        with Session(engine) as session, acme():
            letter = Letter(text="dear")
            session.add(letter)
            session.flush()

            assert letter.tenant_id == "1"

            session.commit()
        Base.metadata.drop_all(engine)


def test_one_compiled_statement_serves_all_tenants(engine: Engine) -> None:
    maker = sessionmaker(engine)
    for number in range(1, 20):
        with Current.set(tenant_id=number), maker() as session:
            session.scalars(select(Card)).all()
    compiled: Any = engine._compiled_cache

    assert len([key for key in compiled if "cards" in str(compiled[key])]) == 1
