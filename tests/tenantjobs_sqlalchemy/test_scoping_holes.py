"""Every way that is known to lead past a filter, tried from the scope of a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    case,
    column,
    create_engine,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from tenantjobs.current import Current
from tenantjobs.errors import CrossTenantSwitch, TenancyError, TenantMissing, WrongTenant
from tenantjobs_sqlalchemy import TenantScoped
from tests.tenantjobs_sqlalchemy.conftest import MARIADB, POSTGRES, Statements, with_savepoints

ACME, GLOBEX = "1", "2"
nickname: Any = table("notes", column("text"))


class Base(DeclarativeBase):
    pass


class Note(TenantScoped, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(index=True)
    text: Mapped[str] = mapped_column(String(40), unique=True)
    lines: Mapped[list[Line]] = relationship(back_populates="note", order_by="Line.id")


class Line(TenantScoped, Base):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(index=True)
    note_id: Mapped[int] = mapped_column(ForeignKey("notes.id"))
    note: Mapped[Note] = relationship(back_populates="lines")


notes: Any = Note.__table__
lines: Any = Line.__table__
pins = Table("pins", Base.metadata, Column("note_id", ForeignKey(Note.id)))


@pytest.fixture(scope="module", params=["sqlite", POSTGRES, MARIADB])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The tables, made once: they are many tests."""
    engine = create_engine("sqlite://" if request.param == "sqlite" else request.getfixturevalue(request.param))
    with_savepoints(engine)
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Acme has the odd notes and lines, globex the even ones; each note has a line of each."""
    with engine.begin() as connection:
        for each in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(each))
        connection.execute(insert(notes), [{"id": n, "text": f"note {n}", "tenant_id": 2 - n % 2} for n in range(1, 5)])
        connection.execute(
            insert(lines), [{"id": n, "tenant_id": 2 - n % 2, "note_id": (n + 1) // 2} for n in range(1, 9)]
        )
        if engine.dialect.name == "postgresql":
            for table in ("notes", "lines"):
                connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', 100)")
    return engine


@pytest.fixture
def session(filled: Engine) -> Iterator[Session]:
    with Session(filled) as session:
        yield session


#: Of the forms below, those that a database has no syntax for.
UNKNOWN = {
    "sqlite": {"full join of aliases", "for update", "lateral", "insert in a cte"},
    "postgresql": set(),
    "mysql": {
        "full join of aliases",
        "full join of a subquery",
        "lateral",
        "update in a statement of its own",
        "upsert",  # as ON DUPLICATE KEY UPDATE, which is refused
        "upsert that moves a row",
        "upsert that takes a row over",
    },
}


def skip_what_it_does_not_know(session: Session, form: str) -> None:
    name = session.get_bind().dialect.name
    if form in UNKNOWN[name]:
        pytest.skip(f"{name} has no {form}")


def acme() -> Any:
    return Current.set(tenant_id=ACME)


def system() -> Any:
    return Current.system("test")


@contextmanager
def globex_keeps_its_rows(session: Session) -> Iterator[None]:
    """Whatever is tried inside: refused or not, the rows of globex are as they were."""

    def rows() -> Any:
        with system():
            found = [
                *session.execute(select(notes).where(notes.c.tenant_id == 2).order_by(notes.c.id)),
                *session.execute(select(lines).where(lines.c.tenant_id == 2).order_by(lines.c.id)),
            ]
        session.rollback()
        return found

    before = rows()
    try:
        yield
        with acme(), suppress(Exception):  # what was refused may be refused once more
            session.commit()
    finally:
        session.rollback()
        assert rows() == before


NOTE = aliased(Note)
READS: dict[str, Any] = {
    "entity": select(Note),
    "columns": select(Note.id, Note.text),
    "alias": select(NOTE.id),
    "both aliases": select(NOTE.id).join(Note, Note.id == NOTE.id),
    "count": select(func.count(Note.id)),
    "count of where only": select(func.count()).where(Note.id > 0),
    "named in where": select(Note.id).where(Note.id == Line.note_id),
    "alias in where": select(Line.id).where(NOTE.id == Line.note_id),
    "named in where of a join": select(Line.id).join(NOTE, NOTE.id == Line.note_id).where(Note.id == NOTE.id),
    "exists": select(Note.id).where(exists().where(Line.note_id == Note.id, Line.id == 2)),
    "exists of a select": select(Note.id).where(select(1).where(Line.note_id == Note.id, Line.id == 2).exists()),
    "exists alone": select(exists().where(Note.id == 2)),
    "any in a column": select(Note.id, case((Note.lines.any(Line.id == 2), "yes"), else_="no")),
    "any": select(Note.id).where(Note.lines.any(Line.id == 2)),
    "has": select(Line.id).where(Line.note.has(Note.id == 2)),
    "not in": select(Note.id).where(Note.id.in_(select(Line.note_id).where(Line.id == 2))),
    "scalar subquery": select(select(func.max(Note.id)).scalar_subquery()),
    "order by": select(Note.id).order_by(select(func.max(Line.id)).scalar_subquery()),
    "cte": select(select(Note.id).cte()),
    "recursive cte": select(select(Note.id).cte(recursive=True)),
    "union": union_all(select(Note.id).where(Note.id < 3), select(Note.id).where(Note.id > 2)),
    "union in from": select(union_all(select(Note.id), select(Line.id)).subquery()),
    "outer join": select(Note.id, Line.id).outerjoin(Line, Line.note_id == Note.id),
    "full join of aliases": select(NOTE.id, Line.id).join(Line, Line.note_id == NOTE.id, full=True),
    "lateral": select(select(Line.id).where(Line.id > 0).lateral()),
    "core": select(notes),
    "core columns": select(notes.c.id),
    "core alias": select(notes.alias("n").c.id),
    "core join": select(notes.c.id, lines.c.id).join(lines, lines.c.note_id == notes.c.id),
    "core outer join": select(notes.c.id, lines.c.id).outerjoin(lines, lines.c.note_id == notes.c.id),
    "core in a model's where": select(Note.id).where(Note.id.in_(select(lines.c.note_id).where(lines.c.id == 2))),
    "core joined to a model": select(Note.id, lines.c.id).join(lines, lines.c.note_id == Note.id),
    "core union": union_all(select(notes.c.id), select(lines.c.id)),
    "core cte": select(select(notes.c.id).cte()),
    "core exists": select(exists().where(notes.c.id == 2)),
    "full join of a table of nobody": select(pins.c.note_id, Note.id).join(Note, Note.id == pins.c.note_id, full=True),
    "full join of a condition": select(pins.c.note_id, Note.id).join(Note, pins.c.note_id == 7, full=True),
    "a table that was reflected": select(
        Table("notes", MetaData(), Column("id", Integer), Column("tenant_id", Integer)).c.id
    ),
    "for update": select(Note.id).with_for_update(),
    "distinct": select(Note.tenant_id).distinct(),
    "group by": select(Note.tenant_id, func.count()).group_by(Note.tenant_id),
    "window": select(func.count().over(), Note.id),
}


def of_globex(rows: Any) -> list[Any]:
    """What there is of globex in rows of ids and records: the even ones."""
    flat = [value for row in rows for value in row]
    numbers = [value.id if isinstance(value, Note | Line) else value for value in flat]
    return [number for number in numbers if type(number) is int and number % 2 == 0]


def may_be_refused(session: Session, statement: Any) -> Any:
    """The rows; none if the statement is refused."""
    try:
        return session.execute(statement).all()
    except WrongTenant:
        return []


class TestReads:
    @pytest.mark.parametrize("form", READS)
    def test_no_row_of_another_tenant_is_read(self, session: Session, form: str) -> None:
        skip_what_it_does_not_know(session, form)
        with acme():
            rows = may_be_refused(session, READS[form])

        if form in ("count", "count of where only"):
            assert rows == [(2,)] or rows == []
        elif form == "group by":
            assert rows == [(1, 2)]
        elif form == "window":
            assert sorted(tuple(row) for row in rows) == [(2, 1), (2, 3)]
        else:
            assert of_globex(rows) == []
        if form == "exists alone" or form == "core exists":
            assert rows in ([], [(False,)])

    @pytest.mark.parametrize("form", READS)
    def test_without_a_tenant_nothing_is_read(self, session: Session, form: str) -> None:
        with pytest.raises(TenantMissing):
            session.execute(READS[form])

    @pytest.mark.parametrize(
        "form",
        [
            "entity",
            "named in where",
            "alias in where",
            "named in where of a join",
            "exists",
            "any",
            "any in a column",
            "has",
            "count",
            "cte",
            "union",
            "core",
            "core join",
            "core alias",
        ],
    )
    def test_what_can_be_filtered_is_not_refused(self, session: Session, form: str) -> None:
        with acme():
            session.execute(READS[form]).all()

    def test_what_an_outer_join_keeps_is_kept_where_a_condition_names_the_other_side(self, session: Session) -> None:
        lonely = select(Note.id).outerjoin(Line, and_(Line.note_id == Note.id, Line.id > 99)).where(Line.id.is_(None))
        with acme():
            assert session.scalars(lonely.order_by(Note.id)).all() == [1, 3]

    def test_query(self, session: Session) -> None:
        with acme():
            assert [note.id for note in session.query(Note).order_by(Note.id)] == [1, 3]
            assert session.query(Note).count() == 2
            assert session.query(Note).filter_by(id=2).first() is None
            assert session.query(session.query(Note).filter(Note.id == 2).exists()).scalar() is False

    def test_yield_per(self, session: Session) -> None:
        with acme():
            found = session.scalars(select(Note).order_by(Note.id).execution_options(yield_per=1))
            assert [note.id for note in found] == [1, 3]

    @pytest.mark.parametrize("option", [selectinload, joinedload, subqueryload, immediateload, lazyload])
    def test_every_loader_of_a_collection(self, session: Session, option: Any) -> None:
        with acme():
            found = session.scalars(select(Note).options(option(Note.lines)).order_by(Note.id)).unique().all()

            assert [[line.id for line in note.lines] for note in found] == [[1], [5]]

    @pytest.mark.parametrize("option", [selectinload, joinedload, subqueryload, immediateload, lazyload])
    def test_every_loader_of_a_reference(self, session: Session, option: Any) -> None:
        with acme():
            found = session.scalars(select(Line).options(option(Line.note)).order_by(Line.id)).unique().all()

            assert [(line.id, line.note and line.note.id) for line in found] == [(1, 1), (3, None), (5, 3), (7, None)]

    def test_a_lazy_load_in_system_scope_is_not_filtered_by_the_tenant_of_before(self, session: Session) -> None:
        with acme():
            note = session.get_one(Note, 1)
        with system():
            assert [line.id for line in note.lines] == [1, 2]

    def test_a_statement_in_a_connection_of_the_session(self, session: Session) -> None:
        with acme():
            assert session.connection().execute(select(notes.c.id).order_by(notes.c.id)).all() == [(1,), (3,)]

    @pytest.mark.parametrize(
        "statement",
        [
            select(nickname.c.text),
            select(literal(1)).where(exists().select_from(nickname)),
            insert(nickname).values(text="x"),
            update(nickname).values(text="x"),
            delete(nickname),
        ],
        ids=str,
    )
    def test_a_table_by_its_name_alone_is_refused(self, session: Session, statement: Any) -> None:
        """Of which nothing is known, least of all whose its rows are."""
        with Current.set(tenant_id=ACME), pytest.raises(WrongTenant, match="notes"):
            session.execute(statement)
        with Current.system("test"):
            session.execute(select(nickname.c.text))

    def test_a_subquery_may_be_the_outer_side_of_a_join(self, session: Session) -> None:
        skip_what_it_does_not_know(session, "full join of a subquery")
        own = select(Note.id).subquery()
        with acme():
            session.execute(insert(pins), [{"note_id": 1}])
            joined = select(pins.c.note_id, own.c.id).join(own, own.c.id == pins.c.note_id, full=True)

            assert session.execute(joined.order_by(own.c.id)).all() == [(1, 1), (None, 3)]

    @pytest.mark.parametrize("closed", [0, 1])
    def test_several_sessions_on_a_connection_are_all_looked_at(self, filled: Engine, closed: int) -> None:
        with filled.connect() as connection:
            sessions = [Session(connection, join_transaction_mode="create_savepoint") for _ in range(2)]
            with acme():
                for each in sessions:
                    each.scalars(select(Note.id)).all()
                sessions.pop(closed).close()
                [session] = sessions

                assert session.scalars(select(notes.c.id).order_by(notes.c.id)).all() == [1, 3]
                with pytest.raises(WrongTenant):
                    by_key(session)

                session.close()

    def test_several_sessions_on_a_connection_work_for_a_tenant_each(self, filled: Engine) -> None:
        """As those of a test do that gives all of them its own connection."""
        with filled.connect() as connection, Session(connection) as first, Session(connection) as second:
            with acme():
                assert first.scalars(select(Note.id).order_by(Note.id)).all() == [1, 3]
            with Current.set(tenant_id=GLOBEX):
                assert second.scalars(select(Note.id).order_by(Note.id)).all() == [2, 4]
            with Current.set(tenant_id="3"), pytest.raises(CrossTenantSwitch):
                second.scalars(select(Note.id))

    def test_a_connection_of_its_own_is_not_looked_at(self, filled: Engine) -> None:
        with filled.connect() as connection:
            assert len(connection.execute(select(notes)).all()) == 4


class TestHeldRecords:
    @pytest.fixture
    def foreign(self, session: Session) -> Note:
        """A note of globex that the session has loaded for all tenants."""
        with system():
            return session.scalars(select(Note).where(Note.id == 2).options(selectinload(Note.lines))).one()

    @pytest.mark.parametrize("expired", [False, True])
    def test_get(self, session: Session, foreign: Note, expired: bool) -> None:
        if expired:
            session.expire(foreign)
        with acme(), pytest.raises(WrongTenant, match="a Note of tenant 2 would be read in the scope of tenant 1"):
            session.get(Note, 2)

    def test_get_from_a_session_that_was_emptied_between(self, session: Session) -> None:
        with system():
            session.get_one(Note, 4)
            session.expunge_all()
            held = session.get_one(Note, 2)
        with acme(), pytest.raises(WrongTenant):
            session.get(Note, held.id)

    def test_get_in_system_scope(self, session: Session, foreign: Note) -> None:
        with system():
            assert session.get(Note, 2) is foreign

    def test_get_without_a_tenant(self, session: Session, foreign: Note) -> None:
        with pytest.raises(TenantMissing):
            session.get(Note, 2)

    def test_a_reference_to_it(self, session: Session, foreign: Note) -> None:
        with acme():
            line = session.get_one(Line, 3)
            with pytest.raises(WrongTenant):
                line.note

    def test_refresh(self, session: Session, foreign: Note) -> None:
        with acme():
            for names in (None, ["text"]):
                with pytest.raises(WrongTenant):
                    session.refresh(foreign, names)

    def test_expired_attributes(self, session: Session, foreign: Note) -> None:
        session.expire(foreign)
        with acme():
            for _ in range(2):
                with pytest.raises(WrongTenant):
                    foreign.text

    def test_an_expired_attribute_beside_the_tenant(self, session: Session, foreign: Note) -> None:
        session.expire(foreign, ["text"])
        with acme(), pytest.raises(WrongTenant):
            foreign.text

    def test_a_deferred_attribute(self, session: Session) -> None:
        with system():
            foreign = session.scalars(select(Note).where(Note.id == 2).options(load_only(Note.id))).one()
            own = session.scalars(select(Note).where(Note.id == 1).options(load_only(Note.id))).one()
        with acme():
            assert own.text == "note 1"
            with pytest.raises((WrongTenant, SQLAlchemyError)):
                foreign.text

    @pytest.mark.parametrize("expire_on_commit", [True, False])
    def test_one_that_was_loaded_without_its_tenant(self, filled: Engine, expire_on_commit: bool) -> None:
        held: list[Note] = []
        with Session(filled, expire_on_commit=expire_on_commit) as session:
            for scope in (system(), Current.set(tenant_id=GLOBEX)):
                with scope:
                    held += session.scalars(select(Note).where(Note.id == 2).options(load_only(Note.text)))
                    session.commit()
                with acme():
                    with pytest.raises(WrongTenant):
                        session.get_one(Note, 2).text
                    session.rollback()

    def test_one_of_the_tenant_that_was_loaded_without_saying_so(self, session: Session, filled: Engine) -> None:
        with acme():
            own = session.scalars(select(Note).where(Note.id == 1).options(load_only(Note.text))).one()
            statements = Statements(filled)

            assert session.get(Note, 1) is own
            assert statements.seen == []
        with system():
            session.get(Line, 1)
        with acme():
            assert session.get(Note, 1) is own

    def test_merge(self, session: Session, foreign: Note) -> None:
        session.expunge(foreign)
        foreign.text = "mine"
        with globex_keeps_its_rows(session), acme(), pytest.raises(WrongTenant):
            session.merge(foreign)
            session.flush()

    def test_merge_of_what_the_session_holds(self, session: Session, foreign: Note) -> None:
        with acme(), pytest.raises(WrongTenant):
            session.merge(Note(id=2, text="mine"))

    def test_add_of_a_detached_record(self, session: Session, foreign: Note) -> None:
        session.expunge(foreign)
        with acme(), pytest.raises(WrongTenant, match="attached"):
            session.add(foreign)

    def test_own_records_are_loaded_again(self, session: Session) -> None:
        with acme():
            note = session.get_one(Note, 1)
            session.refresh(note)
            session.refresh(note, ["text"])
            session.commit()

            assert note.text == "note 1"
            assert session.get(Note, 1) is note

            session.expire(note, ["text"])

            assert note.text == "note 1"


def by_key(session: Session) -> Any:
    return session.execute(update(Note), [{"id": 1, "text": "mine"}, {"id": 2, "text": "mine too"}])


def bulk_update(session: Session) -> Any:
    session.bulk_update_mappings(Note, [{"id": 2, "text": "mine"}])


def bulk_save(session: Session) -> Any:
    with system():
        foreign = session.get_one(Note, 2)
    session.expunge(foreign)
    foreign.text = "mine"
    session.bulk_save_objects([foreign])


def upsert(session: Session, **options: Any) -> Any:
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Note).values(id=2, text="mine")
    return session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"text": statement.excluded.text})
    )


def upsert_elsewhere(session: Session) -> Any:
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Note).values(id=1, text="x")
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"tenant_id": 2}))


def insert_from_selects(session: Session) -> Any:
    """The second is compiled already, with the tenant of the first."""
    for tenant_id in (1, 2):
        chosen = select(literal(f"of {tenant_id}"), literal(tenant_id))
        session.execute(insert(Note).from_select(["text", "tenant_id"], chosen))


def upsert_by_name(session: Session) -> Any:
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Note).values(text="note 2", tenant_id=1)
    session.execute(
        statement.on_conflict_do_update(index_elements=["text"], set_={"tenant_id": statement.excluded.tenant_id})
    )


def changed(session: Session) -> Any:
    with system():
        note = session.get_one(Note, 2)
    note.text = "mine"
    session.flush()


def changed_unseen(session: Session) -> Any:
    with system():
        note = session.get_one(Note, 2)
    session.expire(note)
    note.text = "mine"
    session.flush()


def deleted(session: Session) -> Any:
    with system():
        note = session.get_one(Line, 2)
    session.delete(note)
    session.flush()


def taken(session: Session) -> Any:
    with system():
        note = session.get_one(Note, 2)
    note.tenant_id = 1
    session.flush()


def given_away(session: Session) -> Any:
    session.get_one(Note, 1).tenant_id = 2
    session.flush()


REFUSED: dict[str, Any] = {
    "insert": lambda s: (s.add(Note(text="x", tenant_id=2)), s.flush()),
    "insert values": lambda s: s.execute(insert(Note).values(text="x", tenant_id=2)),
    "insert several values": lambda s: s.execute(
        insert(Note).values([{"text": "x", "tenant_id": 1}, {"text": "y", "tenant_id": 2}])
    ),
    "bulk insert": lambda s: s.execute(insert(Note), [{"text": "x", "tenant_id": 1}, {"text": "y", "tenant_id": 2}]),
    "core insert": lambda s: s.execute(insert(notes).values(text="x", tenant_id=2)),
    "core bulk insert": lambda s: s.execute(insert(notes), [{"text": "x", "tenant_id": 2}]),
    "insert returning": lambda s: s.execute(insert(Note).returning(Note), [{"text": "x", "tenant_id": 2}]),
    "insert of an expression": lambda s: s.execute(insert(Note).values(text="x", tenant_id=literal(1) + 1)),
    "insert of a subquery": lambda s: s.execute(
        insert(Note).values(text="x", tenant_id=select(func.max(Note.tenant_id)).scalar_subquery())
    ),
    "insert from select of a constant": lambda s: s.execute(
        insert(Note).from_select(["text", "tenant_id"], select(literal("x"), literal(2)))
    ),
    "insert in a cte": lambda s: s.execute(
        select(insert(Note).values(text="x", tenant_id=2).returning(Note.id).cte().c.id)
    ),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(Note, [{"text": "x", "tenant_id": 2}]),
    "bulk_save_objects of new": lambda s: s.bulk_save_objects([Note(text="x", tenant_id=2)]),
    "bulk update by key": by_key,
    "bulk_update_mappings": bulk_update,
    "bulk_save_objects": bulk_save,
    "core executemany": lambda s: s.execute(
        update(notes).where(notes.c.id == text(":which")).values(text="mine"), [{"which": 2}]
    ),
    "update of the tenant": lambda s: s.execute(update(Note).values(tenant_id=2)),
    "update of the tenant by an expression": lambda s: s.execute(update(Note).values(tenant_id=Note.tenant_id + 1)),
    "update of the tenant in order": lambda s: s.execute(update(Note).ordered_values((Note.tenant_id, 2))),
    "update of the tenant by key": lambda s: s.execute(update(Note), [{"id": 1, "tenant_id": 2}]),
    "update of the tenant by a parameter": lambda s: s.execute(
        update(notes).where(notes.c.id == bindparam("which")).values(tenant_id=bindparam("owner")),
        [{"which": 1, "owner": 2}],
    ),
    "update of the tenant in a cte": lambda s: s.execute(
        select(update(Note).values(tenant_id=2).returning(Note.id).cte().c.id)
    ),
    "core update of the tenant": lambda s: s.execute(update(notes).values(tenant_id=2)),
    "upsert": upsert,
    "upsert that moves a row": upsert_elsewhere,
    "insert from a select like another": insert_from_selects,
    "insert in a statement of its own": lambda s: s.scalars(
        select(Note).from_statement(insert(Note).values(text="x", tenant_id=2).returning(Note))
    ),
    "upsert that takes a row over": upsert_by_name,
    "change": changed,
    "change of an expired record": changed_unseen,
    "delete": deleted,
    "a row taken": taken,
    "a row given away": given_away,
}

NARROWED: dict[str, Any] = {
    "update": lambda s: s.execute(update(Note).values(text=Note.text + "!")),
    "update of one": lambda s: s.execute(update(Note).where(Note.id == 2).values(text="mine")),
    "update from": lambda s: s.execute(update(Note).where(Note.id == Line.note_id, Line.id == 2).values(text="mine")),
    "update from a value": lambda s: s.execute(update(Line).where(Line.note_id == Note.id).values(id=Note.id + 40)),
    "core update from": lambda s: s.execute(
        update(notes).where(notes.c.id == lines.c.note_id, lines.c.id == 2).values(text="mine")
    ),
    "update in a statement of its own": lambda s: s.scalars(
        select(Note).from_statement(update(Note).values(text=Note.text + "!").returning(Note))
    ),
    "update of an alias": lambda s: s.query(Note).filter(Note.id == 2).update({"text": "mine"}),
    "delete": lambda s: s.execute(delete(Line)),
    "query delete": lambda s: s.query(Line).filter(Line.id == 2).delete(),
    "core update": lambda s: s.execute(update(notes).values(text=notes.c.text + "!")),
    "core delete": lambda s: s.execute(delete(lines)),
    "on a connection": lambda s: s.connection().execute(delete(lines)),
    "insert from select": lambda s: s.execute(
        insert(Note).from_select(["text", "tenant_id"], select(Note.text + "!", Note.tenant_id))
    ),
    "core insert from select": lambda s: s.execute(insert(notes).from_select(["text"], select(notes.c.text + "!"))),
}


class TestWrites:
    @pytest.mark.parametrize("form", REFUSED)
    def test_a_row_of_another_tenant_is_refused(self, session: Session, form: str) -> None:
        skip_what_it_does_not_know(session, form)
        with globex_keeps_its_rows(session), acme(), pytest.raises(WrongTenant):
            REFUSED[form](session)

    @pytest.mark.parametrize("form", NARROWED)
    def test_a_statement_reaches_the_rows_of_the_tenant_only(self, session: Session, form: str) -> None:
        skip_what_it_does_not_know(session, form)
        with globex_keeps_its_rows(session), acme():
            NARROWED[form](session)

    @pytest.mark.parametrize("form", [*REFUSED, *NARROWED])
    def test_without_a_tenant_nothing_is_written(self, session: Session, form: str) -> None:
        skip_what_it_does_not_know(session, form)
        if form in ("bulk_save_objects", "change", "change of an expired record", "delete", "a row taken"):
            with pytest.raises(TenancyError):
                REFUSED[form](session)
            return
        with pytest.raises(TenantMissing):
            {**NARROWED, **REFUSED}[form](session)

    def test_a_record_that_the_session_holds_follows_an_update(self, session: Session) -> None:
        with acme():
            note = session.get_one(Note, 1)
            session.execute(update(Note).values(text=Note.text + "!"))

            assert note.text == "note 1!"

    def test_what_gives_no_tenant_gets_it(self, session: Session) -> None:
        with acme():
            session.execute(insert(Note).values(text="a"))
            session.execute(insert(Note), [{"text": "b"}, {"text": "c"}])
            session.execute(insert(Note).values([{"text": "d"}, {"text": "e"}]))
            session.execute(insert(notes), [{"text": "f"}])
            session.bulk_insert_mappings(Note, [{"text": "g"}])
            session.bulk_save_objects([Note(text="h")])
            session.execute(insert(Note).from_select(["text"], select(Note.text + "!").where(Note.id < 5)))
            session.commit()

            assert set(session.scalars(select(Note.tenant_id))) == {1}
            assert len(session.scalars(select(Note.id)).all()) == 12

    def test_rows_of_the_tenant_are_written_by_key(self, session: Session) -> None:
        with acme():
            session.execute(update(Note), [{"id": 1, "text": "a"}, {"id": 3, "text": "b"}])
            session.bulk_update_mappings(Note, [{"id": 1, "text": "c"}])
            session.commit()

            assert session.scalars(select(Note.text).order_by(Note.id)).all() == ["c", "b"]

    def test_rows_of_the_tenant_are_upserted(self, session: Session) -> None:
        skip_what_it_does_not_know(session, "upsert")
        dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
        statement = dialect.insert(Note).values([{"id": 1, "text": "a"}, {"id": 9, "text": "b"}])
        with acme():
            session.execute(
                statement.on_conflict_do_update(index_elements=["id"], set_={"text": statement.excluded.text})
            )
            session.commit()

            assert session.scalars(select(Note.text).order_by(Note.id)).all() == ["a", "note 3", "b"]

    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param(insert(Note).prefix_with("OR REPLACE").values(id=2, text="mine"), id="replace"),
            pytest.param(
                mysql.insert(Note).values(id=2, text="mine").on_duplicate_key_update(text="mine"), id="on duplicate key"
            ),
        ],
    )
    def test_what_replaces_rows_of_anybody_is_refused(self, session: Session, statement: Any) -> None:
        with acme(), pytest.raises(WrongTenant, match="that may be another tenant's"):
            session.execute(statement)


class TestPin:
    def test_a_transaction_works_for_one_tenant(self, session: Session) -> None:
        with acme():
            session.scalars(select(Note)).all()
        with Current.set(tenant_id=GLOBEX):
            for use in (
                lambda: session.scalars(select(Note)).all(),
                lambda: session.execute(update(Note).values(text=Note.text)),
                lambda: (session.add(Note(text="x")), session.flush()),
            ):
                with pytest.raises(CrossTenantSwitch, match="has worked for tenant 1 was used for tenant 2"):
                    use()

    def test_the_next_one_may_work_for_another(self, session: Session) -> None:
        for end in (session.commit, session.rollback, session.close):
            for tenant_id in (ACME, GLOBEX):
                with Current.set(tenant_id=tenant_id):
                    assert set(session.scalars(select(Note.tenant_id))) == {int(tenant_id)}
                    end()

    def test_a_savepoint_does_not_end_it(self, session: Session) -> None:
        with session.begin():
            with acme(), session.begin_nested():
                session.scalars(select(Note)).all()
            with Current.set(tenant_id=GLOBEX), pytest.raises(CrossTenantSwitch):
                session.scalars(select(Note)).all()

    def test_system_scope_neither_sets_nor_ends_it(self, session: Session) -> None:
        with system():
            session.scalars(select(Note)).all()
        with acme():
            session.scalars(select(Note)).all()
        with system():
            session.scalars(select(Note)).all()
        with Current.set(tenant_id=GLOBEX), pytest.raises(CrossTenantSwitch):
            session.scalars(select(Note)).all()


class TestNewRows:
    def test_belong_to_the_tenant_of_their_add(self, session: Session) -> None:
        note = Note(text="x")
        with acme():
            session.add(note)

        assert note.tenant_id == 1

        with Current.set(tenant_id=GLOBEX), pytest.raises(WrongTenant, match="of tenant 1 would be written"):
            session.flush()

    def test_that_come_by_a_relationship_do_so_too(self, session: Session) -> None:
        with acme():
            note = session.get_one(Note, 1)
            line = Line()
            note.lines.append(line)

            assert line.tenant_id == 1

    def test_that_were_added_for_nobody_belong_to_the_tenant_of_the_flush(self, session: Session) -> None:
        note = Note(text="x")
        session.add(note)
        with acme():
            session.flush()

        assert note.tenant_id == 1


class TestReferences:
    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda s: (s.add(Line(note_id=2)), s.flush()), id="flush"),
            pytest.param(lambda s: (setattr(s.get_one(Line, 1), "note_id", 2), s.flush()), id="change"),
            pytest.param(lambda s: s.execute(insert(Line).values(note_id=2)), id="insert"),
            pytest.param(lambda s: s.execute(insert(Line).values([{"note_id": 1}, {"note_id": 2}])), id="values"),
            pytest.param(lambda s: s.execute(insert(Line), [{"note_id": 1}, {"note_id": 2}]), id="bulk insert"),
            pytest.param(lambda s: s.execute(insert(lines), [{"note_id": 2}]), id="core insert"),
            pytest.param(lambda s: s.execute(update(Line).values(note_id=2)), id="update"),
            pytest.param(lambda s: s.execute(update(Line), [{"id": 1, "note_id": 2}]), id="update by key"),
            pytest.param(lambda s: s.execute(insert(pins), [{"note_id": 2}]), id="a table of nobody"),
            pytest.param(
                lambda s: s.execute(insert(lines).values(note_id=bindparam("to")), [{"to": 2}]),
                id="insert of a parameter",
            ),
            pytest.param(
                lambda s: s.execute(
                    update(lines).where(lines.c.id == bindparam("which")).values(note_id=bindparam("to")),
                    [{"which": 1, "to": 2}],
                ),
                id="update of a parameter",
            ),
            pytest.param(
                lambda s: s.execute(insert(Line).from_select(["note_id"], select(literal(2)))), id="insert from select"
            ),
            pytest.param(
                lambda s: s.execute(
                    (postgresql if s.get_bind().dialect.name == "postgresql" else sqlite)
                    .insert(Line)
                    .values(id=1, note_id=1)
                    .on_conflict_do_update(index_elements=["id"], set_={"note_id": 2})
                ),
                id="upsert",
            ),
            pytest.param(lambda s: s.execute(insert(Line).values(note_id=99)), id="to nothing"),
        ],
    )
    def test_to_another_tenants_row_are_refused(
        self, session: Session, write: Any, request: pytest.FixtureRequest
    ) -> None:
        skip_what_it_does_not_know(session, request.node.callspec.id.partition("-")[2])
        with acme(), pytest.raises(WrongTenant, match="leads to no row of notes that is of tenant 1"):
            write(session)

    def test_to_a_record_that_the_session_holds_are_refused_too(self, session: Session) -> None:
        with system():
            foreign = session.get_one(Note, 2)
        with acme():
            session.add(Line(note_id=foreign.id))
            with pytest.raises(WrongTenant, match="a Note of tenant 2 would be referred to"):
                session.flush()
            session.rollback()
            session.add(Line(note=foreign))
            with pytest.raises(WrongTenant):
                session.flush()

    def test_to_rows_of_the_tenant_cost_one_statement(self, session: Session, filled: Engine) -> None:
        statements = Statements(filled)
        with acme():
            session.add_all([Line(note_id=1), Line(note_id=3), Line(note_id=1)])
            session.flush()

        assert len([text for text in statements.seen if text.startswith("SELECT")]) == 1

    def test_to_what_the_session_holds_or_makes_cost_none(self, session: Session, filled: Engine) -> None:
        with acme():
            held = session.get_one(Note, 1)
            statements = Statements(filled)
            session.add_all([Line(note=held), Line(note=Note(text="new")), Line(note_id=1)])
            session.flush()

        assert [text for text in statements.seen if text.startswith("SELECT")] == []

    def test_to_a_row_that_only_might_be_made_are_refused(self, session: Session) -> None:
        session.autoflush = False
        with acme():
            session.add(Note(id=2, text="to be"))
            with pytest.raises(WrongTenant, match="leads to no row"):
                session.execute(insert(Line).values(note_id=2))

    def test_in_a_cte_are_refused(self, session: Session) -> None:
        for written in (insert(pins).values(note_id=2), update(pins).values(note_id=2)):
            with acme(), pytest.raises(WrongTenant, match="pins"):
                session.execute(select(written.returning(pins.c.note_id).cte()))

    def test_in_system_scope_are_what_they_are(self, session: Session) -> None:
        with system():
            session.add(Line(note_id=2, tenant_id=1))
            session.flush()


async def test_async_sessions_are_held_alike(
    filled: Engine, amaker: async_sessionmaker[AsyncSession], session: Session
) -> None:
    if filled.dialect.name == "sqlite":
        pytest.skip("a database in memory is one connection's")
    async with amaker() as asession:
        with system():
            foreign = await asession.get_one(Note, 2)
        with acme():
            with pytest.raises(WrongTenant):
                await asession.get(Note, 2)
            with pytest.raises(WrongTenant):
                await asession.refresh(foreign)
            with pytest.raises(WrongTenant):
                await asession.execute(insert(Note), [{"text": "x", "tenant_id": 2}])
            found = await asession.stream_scalars(select(Note.id).order_by(Note.id))
            assert await found.all() == [1, 3]
            assert (await asession.execute(select(notes.c.id).order_by(notes.c.id))).all() == [(1,), (3,)]
