from __future__ import annotations

import gc

import pytest
from sqlalchemy import Column, Integer, Table
from sqlalchemy.orm import DeclarativeBase, DeclarativeBaseNoMeta, Mapped, declarative_base, mapped_column, registry

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import models
from tests.tenantjobs_sqlalchemy.conftest import Order


def invoice(module: str) -> type:
    """A mapped class called Invoice, as if it were defined in ``module``."""

    class Base(DeclarativeBase):
        pass

    found: type = type(
        "Invoice",
        (Base,),
        {
            "__tablename__": "invoices",
            "__module__": module,
            "__qualname__": "Invoice",
            "id": mapped_column(Integer, primary_key=True),
        },
    )
    return found


def test_a_class_is_known_by_its_name() -> None:
    assert models.name_of(Order) == "Order"
    assert models.find("Order") is Order


def test_a_class_that_is_not_mapped_is_not_known() -> None:
    assert models.find("Nobody") is None
    assert not models.is_mapped(dict)


def test_classes_mapped_by_any_means_are_known() -> None:
    class NoMeta(DeclarativeBaseNoMeta):
        pass

    class Parcel(NoMeta):
        __tablename__ = "parcels"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Pallet(declarative_base()):  # type: ignore[misc]  # as old code has it
        __tablename__ = "pallets"
        id = Column(Integer, primary_key=True)

    class Crate:
        pass

    mapping = registry()
    mapping.map_imperatively(Crate, Table("crates", mapping.metadata, Column("id", Integer, primary_key=True)))

    assert [models.find(name) for name in ("Parcel", "Pallet", "Crate")] == [Parcel, Pallet, Crate]


def test_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    shop, billing = invoice("shop.models"), invoice("billing.models")

    assert models.name_of(shop) == "shop.models.Invoice"
    assert models.find("shop.models.Invoice") is shop
    assert models.find("billing.models.Invoice") is billing
    assert models.find("other.models.Invoice") is None

    with pytest.raises(ConfigurationError, match=r"billing\.models\.Invoice or shop\.models\.Invoice"):
        models.find("Invoice")


def test_a_class_that_is_defined_again_takes_the_place_of_the_first() -> None:
    first, second = invoice("again.models"), invoice("again.models")

    assert models.find("again.models.Invoice") is second

    del first


def test_a_class_that_is_gone_is_forgotten() -> None:
    class Base(DeclarativeBase):
        pass

    class Fleeting(Base):
        __tablename__ = "fleeting"
        id: Mapped[int] = mapped_column(primary_key=True)

    assert models.find("Fleeting") is Fleeting

    Base.registry.dispose()

    assert models.find("Fleeting") is None

    del Fleeting, Base
    gc.collect()


def test_the_classes_of_a_registry_can_be_named() -> None:
    shop = invoice("named.models")
    models._places.pop("Invoice")
    models.learn_all(shop.registry)  # type: ignore[attr-defined]  # of its base

    assert models.find("Invoice") is shop

    models._places.pop("Invoice")
