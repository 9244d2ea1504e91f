from __future__ import annotations

import gc
from typing import Any

import pytest
from sqlalchemy import Column, Integer, Table
from sqlalchemy.orm import DeclarativeBase, DeclarativeBaseNoMeta, Mapped, declarative_base, mapped_column, registry

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import models


def mapped(module: str, name: str) -> Any:
    """A mapped class, as if it were defined in ``module``."""

    class Base(DeclarativeBase):
        pass

    columns = {"id": mapped_column(Integer, primary_key=True)}
    return type(name, (Base,), {"__tablename__": "t", "__module__": module, "__qualname__": name, **columns})


def test_a_class_is_known_by_its_name() -> None:
    sole = mapped("shop.models", "Sole")

    assert models.name_of(sole) == "Sole"
    assert models.find("Sole") is sole
    assert models.find("shop.models.Sole") is sole


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
    shop, billing = mapped("shop.models", "Invoice"), mapped("billing.models", "Invoice")

    assert models.name_of(shop) == "shop.models.Invoice"
    assert models.find("shop.models.Invoice") is shop
    assert models.find("billing.models.Invoice") is billing
    assert models.find("other.models.Invoice") is None

    with pytest.raises(ConfigurationError, match=r"billing\.models\.Invoice or shop\.models\.Invoice"):
        models.find("Invoice")


def test_a_class_that_is_defined_again_takes_the_place_of_the_first() -> None:
    first, second = mapped("shop.models", "Again"), mapped("shop.models", "Again")

    assert models.name_of(second) == "Again"
    assert first is not second
    assert models.find("Again") is second


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
    unseen = mapped("shop.models", "Unseen")
    models._places.pop("Unseen")

    assert models.find("Unseen") is None

    models.learn_all(unseen.registry)

    assert models.find("Unseen") is unseen
