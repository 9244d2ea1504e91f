"""What producers commit beside their jobs, and what jobs leave: all that is counted in the end."""

from __future__ import annotations

from sqlalchemy import Double, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

AT_ONCE = 2  # limited jobs of a tenant
STARTS = 5  # of a tenant's jobs with a rate, in
PER = 1.0  # seconds


class Base(DeclarativeBase):
    pass


class Order(Base):
    """What a producer has committed together with its jobs, so that it says what there has to be."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(40))
    tenant: Mapped[str] = mapped_column(String(40))
    key: Mapped[str | None] = mapped_column(String(80))
    due: Mapped[float | None] = mapped_column(Double)

    @property
    def mark(self) -> str:
        """What its jobs carry beside their tenant."""
        return f"{self.tenant} {self.number}"


class Effect(Base):
    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    number: Mapped[int]
    part: Mapped[str] = mapped_column(String(40))
    tenant: Mapped[str | None] = mapped_column(String(40))
    mark: Mapped[str | None] = mapped_column(String(80))
    began: Mapped[float] = mapped_column(Double)
    ended: Mapped[float] = mapped_column(Double)
