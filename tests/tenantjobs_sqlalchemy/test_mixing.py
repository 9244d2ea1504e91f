from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import tenantjobs_sqlalchemy
from tenantjobs import Current
from tenantjobs_sqlalchemy import TenantScoped
from tenantjobs_sqlalchemy.mixing import mix_in


class Loud:
    def say(self) -> str:
        return super().say().upper()  # type: ignore[misc, no-any-return]


class Speaker:
    def __init__(self, text: str) -> None:
        self.text = text

    def say(self) -> str:
        return self.text


def test_an_object_that_is_there_already_behaves_as_the_mixin_says() -> None:
    speaker, other = Speaker("hear"), Speaker("quiet")
    mix_in(Loud, into=speaker)

    assert speaker.say() == "HEAR"
    assert other.say() == "quiet"


def test_it_is_mixed_in_once() -> None:
    speaker, other = Speaker("hear"), Speaker("too")
    mix_in(Loud, into=speaker)
    kind = type(speaker)
    mix_in(Loud, into=speaker)
    mix_in(Loud, into=other)

    assert type(speaker) is kind
    assert type(other) is kind


class Base(DeclarativeBase):
    pass


class Note(TenantScoped, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)


class FollowedSession(Session):
    pass


def test_no_row_pays_for_listeners_of_the_engine() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    tenantjobs_sqlalchemy.install(FollowedSession)
    try:
        with Current.set(tenant_id="acme"), FollowedSession(engine) as session:
            session.add(Note())
            session.commit()
    finally:
        tenantjobs_sqlalchemy.uninstall()

    heard = engine.dispatch
    assert [*heard.before_execute, *heard.after_execute, *heard.after_cursor_execute, *heard.commit] == []
