"""What the shop keeps: an account, which is a tenant, its cards with their comments, and who wants to hear of them."""

from __future__ import annotations

import hmac
from uuid import uuid4

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import tenantjobs
from tenantjobs_sqlalchemy import TenantScoped


def new_id() -> str:
    """An id that is known before the row is written."""
    return uuid4().hex


LongText = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")


class Base(DeclarativeBase):
    """The tables of the shop."""

    type_annotation_map = {str: String(255)}  # MariaDB wants to know how long


class Account(Base):
    """A customer of the shop. Its id is the first label of its host name, and the tenant of all that it owns."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret: Mapped[str]

    def sign(self, message: bytes) -> str:
        """What proves to the customer's server that the message is from the shop, and meant for this account."""
        return hmac.digest(self.secret.encode(), message, "sha256").hex()


class Owned(TenantScoped):
    """What belongs to an account, and goes with it."""

    tenant_id: Mapped[str] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"), index=True)


class Card(Owned, Base):
    """Something to do."""

    __tablename__ = "cards"

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(LongText)


class Comment(Owned, Base):
    """What somebody has to say about a card."""

    __tablename__ = "comments"

    id: Mapped[str] = mapped_column(primary_key=True)
    card_id: Mapped[str] = mapped_column(ForeignKey(Card.id, ondelete="CASCADE"))
    author: Mapped[str]
    body: Mapped[str] = mapped_column(LongText)


class Webhook(Owned, Base):
    """An address that wants to hear what happens in an account."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(LongText)


tenantjobs.configure(tenant=Account)
