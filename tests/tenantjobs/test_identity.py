from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs import identity
from tenantjobs.errors import ArgumentError, RecordGone, RecordUnavailable, SerializationError
from tenantjobs.identity import GlobalId, PendingRecord, canonical_id

UUID_TEXT = "0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
apps = st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True)


class Order:
    def __init__(self, key: int | None, tenant: str | None = None) -> None:
        self.key = key
        self.tenant = tenant


class Shelf:
    """A locator over a dictionary."""

    def __init__(self, *orders: Order) -> None:
        self.orders = {str(order.key): order for order in orders}
        self.answers = True

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        if not isinstance(record, Order):
            return None
        return PendingRecord(record) if record.key is None else GlobalId("shop", "Order", (str(record.key),))

    def model_of(self, cls: type) -> str | None:
        return "Order" if cls is Order else None

    def knows(self, gid: GlobalId) -> bool:
        return (gid.app, gid.model) == ("shop", "Order")

    def locate(self, gid: GlobalId) -> object:
        if not self.answers:
            raise RecordUnavailable(f"{gid} could not be looked up")
        if gid.key[0] not in self.orders:
            raise RecordGone(f"{gid} does not exist any more")
        return self.orders[gid.key[0]]

    async def alocate(self, gid: GlobalId) -> object:
        return self.locate(gid)

    def tenant_of(self, record: object) -> str | None:
        return record.tenant if isinstance(record, Order) else None


@pytest.fixture
def order() -> Order:
    return Order(42, tenant="7")


@pytest.fixture
def shelf(order: Order) -> Iterator[Shelf]:
    shelf = Shelf(order)
    identity.register(shelf)
    yield shelf
    identity.unregister(shelf)


# GlobalId


@pytest.mark.parity("1c.10")
def test_a_global_id_reads_as_app_model_and_key() -> None:
    gid = GlobalId("shop", "Order", ("42",))

    assert str(gid) == "gid://shop/Order/42"


@pytest.mark.parity("1c.10")
def test_a_composite_key_has_one_part_for_each_column() -> None:
    gid = GlobalId("shop", "Line", ("42", "7"))

    assert str(gid) == "gid://shop/Line/42/7"
    assert gid == GlobalId.parse("gid://shop/Line/42/7")


def test_a_slash_within_a_key_is_not_a_second_part() -> None:
    gid = GlobalId("shop", "File", ("a/b",))

    assert str(gid) == "gid://shop/File/a%2Fb"
    assert gid == GlobalId.parse(str(gid))
    assert gid != GlobalId("shop", "File", ("a", "b"))


@given(apps, texts, st.lists(texts, min_size=1, max_size=3).map(tuple))
@pytest.mark.parity("1c.10")
def test_any_text_is_a_key_and_comes_back(app: str, model: str, key: tuple[str, ...]) -> None:
    gid = GlobalId(app, model, key)

    assert gid == GlobalId.parse(str(gid))
    assert str(gid).isascii()


@given(st.text() | st.text().map("gid://".__add__) | st.from_regex(r"gid://[a-z.]*/[A-Za-z%0-9/]*", fullmatch=True))
@pytest.mark.parity("1c.10")
def test_parse_takes_only_what_str_writes(text: str) -> None:
    try:
        parsed = GlobalId.parse(text)
    except ValueError:
        return

    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gid://",
        "gid://shop",
        "gid://shop/Order",
        "gid://shop/Order/",
        "gid://shop//42",
        "gid:///Order/42",
        "gid://shop/Order/42/",
        "gid://sh op/Order/42",
        "gid://shop/Order/%zz",
        "gid://shop/Order/%ff",
        "gid://shop/Order/%2f",
        "GID://shop/Order/42",
        "gid://shop/Order/42?expires_in",
    ],
)
@pytest.mark.parity("1c.10", "1c.11")
def test_a_text_that_is_no_global_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        GlobalId.parse(text)


@pytest.mark.parametrize("text", ["", "GID://shop/Order/42", "gid://shop", "gid://shop/Order"])
@pytest.mark.parity("1c.10", "1c.11")
def test_the_error_shows_how_one_looks(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a GlobalId: .*it looks like gid://app/Model/key"):
        GlobalId.parse(text)


@pytest.mark.parametrize("app", ["", "my shop", "shop/eu", "späti", "shop\n"])
@pytest.mark.parity("1c.10")
def test_an_application_name_has_letters_digits_dash_underscore_and_dot(app: str) -> None:
    with pytest.raises(ValueError, match="application name"):
        GlobalId(app, "Order", ("42",))


@pytest.mark.parametrize(("model", "key"), [("", ("1",)), ("Order", ()), ("Order", ("",)), ("Order", ("1", ""))])
@pytest.mark.parity("1c.10")
def test_an_empty_part_is_refused(model: str, key: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not empty"):
        GlobalId("shop", model, key)


@pytest.mark.parity("1c.10")
def test_half_a_surrogate_pair_is_no_key() -> None:
    with pytest.raises(ValueError, match="texts"):
        GlobalId("shop", "Order", ("\ud800",))


# locators


def test_a_record_is_identified_by_the_locator_that_knows_it(shelf: Shelf, order: Order) -> None:
    assert identity.identify(order) == GlobalId("shop", "Order", ("42",))
    assert identity.model_of(Order) == "Order"
    assert identity.tenant_of(order) == "7"


def test_what_no_locator_knows_is_no_record(shelf: Shelf) -> None:
    assert identity.identify("42") is None
    assert identity.model_of(str) is None
    assert identity.tenant_of("42") is None


async def test_a_record_is_located_by_its_name(shelf: Shelf, order: Order) -> None:
    gid = GlobalId("shop", "Order", ("42",))

    assert identity.locate(gid) is order
    assert await identity.alocate(gid) is order


@pytest.mark.parity("1c.11")
async def test_gone_and_unavailable_are_different_errors(shelf: Shelf) -> None:
    missing = GlobalId("shop", "Order", ("43",))

    with pytest.raises(RecordGone):
        identity.locate(missing)
    with pytest.raises(RecordGone):
        await identity.alocate(missing)

    shelf.answers = False
    with pytest.raises(RecordUnavailable):
        identity.locate(missing)
    with pytest.raises(RecordUnavailable):
        await identity.alocate(missing)


async def test_a_name_that_no_locator_knows_is_neither_gone_nor_unavailable(shelf: Shelf) -> None:
    foreign = GlobalId("bakery", "Order", ("42",))

    for failing in (lambda: identity.locate(foreign), lambda: identity.alocate(foreign).send(None)):
        with pytest.raises(ArgumentError, match=r"gid://bakery/Order/42.*tenantjobs_sqlalchemy\.install") as raised:
            failing()

        assert raised.type is ArgumentError


def test_a_pending_record_has_a_name_after_the_flush(shelf: Shelf) -> None:
    order = Order(None)
    pending = identity.identify(order)
    assert isinstance(pending, PendingRecord)
    assert pending.record is order

    order.key = 43

    assert pending.resolve() == GlobalId("shop", "Order", ("43",))


def test_a_pending_record_that_never_got_a_key_is_a_serialization_error(shelf: Shelf) -> None:
    pending = PendingRecord(Order(None))

    with pytest.raises(SerializationError, match="Order has no key"):
        pending.resolve()


def test_a_locator_is_asked_once_however_often_it_is_registered(shelf: Shelf) -> None:
    identity.register(shelf)

    assert identity.locators().count(shelf) == 1


def test_the_first_registered_locator_is_asked_first(shelf: Shelf, order: Order) -> None:
    late = Shelf(Order(42))
    identity.register(late)
    try:
        found = identity.locate(GlobalId("shop", "Order", ("42",)))
    finally:
        identity.unregister(late)

    assert found is order


def test_unregistering_a_stranger_changes_nothing(shelf: Shelf) -> None:
    before = identity.locators()
    identity.unregister(Shelf())

    assert identity.locators() == before


def test_locators_registered_at_the_same_time_are_all_kept() -> None:
    shelves = [Shelf() for _ in range(16)]
    threads = [Thread(target=identity.register, args=(shelf,)) for shelf in shelves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = identity.locators()
    for shelf in shelves:
        identity.unregister(shelf)

    assert set(shelves) <= set(kept)
    assert not set(shelves) & set(identity.locators())


# canonical ids


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (42, "42"),
        ("42", "42"),
        (-1, "-1"),
        ("acme", "acme"),
        ("ACME", "ACME"),
        ("042", "042"),
        ("späti & co", "späti & co"),
        (UUID(UUID_TEXT), UUID_TEXT),
        (UUID_TEXT, UUID_TEXT),
        (UUID_TEXT.upper(), UUID_TEXT),
        (UUID_TEXT.replace("-", ""), UUID_TEXT.replace("-", "")),
        ("x" * 255, "x" * 255),
    ],
)
def test_an_id_has_one_text_form(value: object, text: str) -> None:
    assert canonical_id(value) == text
    assert type(canonical_id(value)) is str


@pytest.mark.parametrize("value", [None, "", " ", "\t\n", "\u00a0", 0, "0", False])
def test_nothing_and_zero_never_stand_for_all_tenants(value: object) -> None:
    with pytest.raises(ValueError, match="tenant"):
        canonical_id(value)


@pytest.mark.parametrize(
    "value",
    [
        True,
        1.0,
        b"42",
        object(),
        ["42"],
        " 42",
        "42 ",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a\u2028b",
        "\ud800",
        "x" * 256,
        10**300,
    ],
)
def test_an_id_that_could_be_mistaken_for_another_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="tenant id"):
        canonical_id(value)


def test_a_subclass_of_a_text_gives_plain_text() -> None:
    class Slug(str):
        def __str__(self) -> str:
            return "something else"

    assert canonical_id(Slug("acme")) == "acme"
    assert type(canonical_id(Slug("acme"))) is str


@given(st.integers())
def test_a_number_and_its_text_are_one_tenant(number: int) -> None:
    if number != 0:
        assert canonical_id(number) == canonical_id(str(number))


@given(st.uuids())
def test_a_uuid_and_its_text_are_one_tenant(uuid: UUID) -> None:
    assert canonical_id(uuid) == canonical_id(str(uuid)) == canonical_id(str(uuid).upper())


@given(st.text() | st.integers() | st.uuids() | st.none() | st.booleans() | st.floats() | st.binary())
def test_a_canonical_id_is_its_own_canonical_id(value: object) -> None:
    try:
        text = canonical_id(value)
    except ValueError:
        return

    assert canonical_id(text) == text
