from __future__ import annotations

import inspect
import math
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from types import ModuleType
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypeVar, get_type_hints
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantjobs import identity
from tenantjobs.arguments import Frozen, decode, encode, freeze, references, thaw, types_of
from tenantjobs.binding import Binding
from tenantjobs.errors import ArgumentError, RecordGone, SerializationError
from tenantjobs.identity import GlobalId, PendingRecord

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    GREEN = object()
    CRIMSON = RED


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GOOD = "good"


class Access(Flag):
    READ = 1
    WRITE = 2
    ALL = READ | WRITE


class Mode(IntFlag):
    A = 4
    B = 8


@dataclass
class Price:
    amount: Decimal
    currency: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: int = 0


@dataclass
class Line(Price):
    points: list[Point] = field(default_factory=list)
    total: Decimal = field(init=False)
    unit: ClassVar[str] = "kg"

    def __post_init__(self) -> None:
        self.total = self.amount * len(self.points)


@dataclass
class Doubled:
    amount: int

    def __post_init__(self) -> None:
        self.amount *= 2


@dataclass
class Box(Generic[T]):
    content: T

    class Lid(Enum):
        SHUT = 1


class Plain(msgspec.Struct):
    name: str
    when: datetime | None = None


class Tagged(msgspec.Struct, frozen=True, tag="tagged", rename="camel", array_like=True):
    first_name: str
    plain: Plain
    extra: int | msgspec.UnsetType = msgspec.UNSET


class Counted(msgspec.Struct, frozen=True):
    amount: int

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "amount", self.amount + 1)


@dataclass
class WithInitVar:
    name: str
    salt: InitVar[str] = ""


@dataclass(init=False)
class OwnConstructor:
    name: str

    def __init__(self, first: str, last: str) -> None:
        self.name = f"{first} {last}"


@dataclass
class Tally(dict[str, int]):
    name: str


class Pair(NamedTuple):
    a: int
    b: int


class Text(str):
    pass


class Order:
    def __init__(self, key: int | None) -> None:
        self.key = key


class Orders:
    """A locator of orders."""

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        if not isinstance(record, Order):
            return None
        if record.key == 0:
            raise SerializationError("Order is in no session and was never saved")
        return PendingRecord(record) if record.key is None else GlobalId("shop", "Order", (str(record.key),))

    def model_of(self, cls: type) -> str | None:
        return "Order" if cls is Order else None

    def knows(self, gid: GlobalId) -> bool:
        return gid.model == "Order"

    def locate(self, gid: GlobalId) -> object:
        if gid.key == ("404",):
            raise RecordGone(f"{gid} does not exist any more")
        return Order(int(gid.key[0]))

    async def alocate(self, gid: GlobalId) -> object:
        return self.locate(gid)

    def tenant_of(self, record: object) -> str | None:
        return None


@pytest.fixture
def orders() -> Iterator[Orders]:
    orders = Orders()
    identity.register(orders)
    yield orders
    identity.unregister(orders)


def taking_one(value: Any) -> None: ...


ONE = inspect.signature(taking_one)


def frozen(value: Any) -> Frozen:
    return freeze(Binding("send_welcome", ONE), (value,), {})


def there_and_back(value: object) -> object:
    (back,), kwargs = thaw(frozen(value).seal()).fill({})
    assert kwargs == {}
    return back


def refusal(value: object) -> str:
    with pytest.raises(SerializationError) as raised:
        frozen(value)
    return str(raised.value)


def same(one: Any, other: Any) -> bool:
    """Equal, of exactly the same types all the way down, NaN and signed zero included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Enum):
        return one is other
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, (datetime, time)):
        return one.isoformat() == other.isoformat() and one.fold == other.fold and same_zone(one, other)
    if is_dataclass(one):
        return all(same(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    return bool(one == other)


def same_zone(one: datetime | time, other: datetime | time) -> bool:
    if isinstance(one.tzinfo, ZoneInfo):
        return one.tzinfo is other.tzinfo
    return same(one.tzinfo, other.tzinfo) and (one.tzinfo is None or one.tzname() == other.tzname())


zones = (
    st.none()
    | st.just(UTC)
    | st.sampled_from(["Europe/Berlin", "America/New_York", "UTC", "Etc/GMT+5", "Asia/Kathmandu"]).map(ZoneInfo)
    | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
    | st.builds(
        timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(st.characters(codec="utf-8"))
    )
)
folds = st.sampled_from([0, 1])
texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(["$", "$uuid", "$record", "", "gid://a/b/1"])
moments = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds)
clocks = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
numbers = st.integers() | st.integers(-(2**65), 2**65) | st.integers(10**30, 10**31)
decimals = st.decimals() | st.sampled_from(["-0", "NaN", "-NaN", "sNaN", "NaN123", "Infinity", "1E+999"]).map(Decimal)
enums = st.sampled_from(
    [*Color, *Size, *Mood, *Access, Access(0), Access.ALL, Mode.A | Mode.B, Mode(0), Mode(256), Box.Lid.SHUT]
)
hashables = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        st.floats(),
        texts,
        st.binary(),
        moments,
        st.dates(),
        clocks,
        st.timedeltas(),
        decimals.filter(lambda value: not value.is_snan()),
        st.uuids(),
        enums,
        st.builds(Point, x=numbers, y=numbers),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
values = st.recursive(
    hashables | decimals,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=4),
        st.dictionaries(hashables, inner, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.builds(Box, inner),
        st.builds(Price, decimals, enums),
        st.builds(Line, st.decimals(allow_nan=False, allow_infinity=False, places=2), enums, st.just([Point(x=1)])),
        st.builds(Plain, texts, moments),
        st.builds(Tagged, texts, st.builds(Plain, texts), numbers | st.just(msgspec.UNSET)),
    ),
    max_leaves=12,
)


# round trips


@settings(max_examples=400, deadline=None)
@given(values)
@pytest.mark.parity("1a.24")
def test_every_value_comes_back_equal_and_of_its_exact_type(value: object) -> None:
    assert same(there_and_back(value), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_the_text_of_a_value_that_came_back_is_the_same_text(value: object) -> None:
    assert frozen(there_and_back(value)).seal() == frozen(value).seal()


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        2**63,
        2**64,
        -(2**63) - 1,
        1.0,
        1e300,
        5e-324,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        -math.nan,
        b"",
        bytes(range(256)),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=ZoneInfo("Asia/Kathmandu")),
        datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1, seconds=1, microseconds=5))),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "UTC")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"), fold=1),
        datetime(2024, 1, 1).astimezone(),
        time(1, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        date.min,
        timedelta.min,
        timedelta.max,
        timedelta(microseconds=-1),
        {1: "one", (1, 2): {"$": 1}, None: set(), "1": 1.5},
        {"$dict": [], "$": None},
        {"$record": "gid://shop/Order/1"},
        {"": ""},
        Line(Decimal("1.50"), Color.GREEN, [Point(x=1), Point(x=2)]),
        Box(Box({1, 2})),
        Tagged("Ann", Plain("x")),
        GlobalId("shop", "Order", ("1",)),
    ],
)
def test_a_value_on_the_edge_comes_back(value: object) -> None:
    assert same(there_and_back(value), value)


def test_an_integer_may_be_longer_than_python_would_print() -> None:
    assert there_and_back(10**5000) == 10**5000


def test_an_alias_of_an_enum_member_is_the_member() -> None:
    assert there_and_back(Color.CRIMSON) is Color.RED


def test_a_class_that_changes_its_fields_on_the_way_in_does_so_once() -> None:
    assert there_and_back(Doubled(21)) == Doubled(21)
    assert there_and_back(Counted(1)) == Counted(1)


def test_a_uuid_of_a_driver_is_a_uuid() -> None:
    class DriverUUID(UUID):
        pass

    back = there_and_back(DriverUUID("0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"))

    assert type(back) is UUID
    assert str(back) == "0190f6a8-7c1e-7b7e-8a3b-2f1d4c5e6a7b"


def test_a_field_that_was_never_set_is_not_set_there_either() -> None:
    line = Line(Decimal(1), Color.RED)
    del line.total

    assert b"total" not in frozen(line).seal()


def test_plain_arguments_are_plain_json() -> None:
    assert freeze(Binding("j", ONE), (7,), {}).seal() == b"[[7],{}]"
    assert frozen({"a": [1, "x", None, True, 1.5]}).seal() == b'[[{"a":[1,"x",null,true,1.5]}],{}]'


def test_the_text_of_a_set_does_not_depend_on_its_order() -> None:
    assert frozen({"b", "a", "c", 2, 10}).seal() == b'[[{"$set":["a","b","c",10,2]}],{}]'


def test_what_the_caller_changes_later_does_not_travel() -> None:
    items: list[Any] = [1, {"a": {1}}, Box([1])]
    held = frozen(items)
    items[1]["a"].add(2)
    items[2].content.append(2)
    items.clear()
    (back,), _ = thaw(held.seal()).fill({})

    assert back == [1, {"a": {1}}, Box([1])]


def test_each_fill_makes_new_objects() -> None:
    thawed = thaw(frozen([[1]]).seal())
    thawed.fill({})[0][0].append(2)

    assert thawed.fill({}) == (([[1]],), {})


# the call


def everything(a: Any, /, b: Any, c: Any = 3, *rest: Any, d: Any, e: Any = 5, **others: Any) -> None: ...


def mixed(a: Any, b: Any = 2, *, c: Any = 3) -> None: ...


def nothing() -> None: ...


def outcome(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except TypeError as error:
        return f"TypeError: {error}"


@given(
    st.sampled_from([everything, mixed, nothing, taking_one]),
    st.lists(st.integers(), max_size=5).map(tuple),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f", "value"]), st.integers()),
)
def test_a_call_is_bound_as_python_binds_it(
    function: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    signature = inspect.signature(function)

    def bound() -> object:
        found = signature.bind(*args, **kwargs)
        return found.args, list(found.kwargs.items())

    def carried() -> object:
        back = thaw(freeze(Binding("send_welcome", signature), args, kwargs).seal()).fill({})
        return back[0], list(back[1].items())

    assert outcome(carried) == outcome(bound).replace("TypeError: ", "TypeError: job send_welcome: ")


def test_the_same_call_is_the_same_text_by_position_or_by_keyword() -> None:
    signature = inspect.signature(mixed)
    by_position = freeze(Binding("j", signature), (1, [2]), {}).seal()
    by_keyword = freeze(Binding("j", signature), (), {"b": [2], "a": 1}).seal()

    assert by_position == by_keyword == b"[[1,[2]],{}]"


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        ((object(), 2), {"d": 4}, "a"),
        ((1, object()), {"d": 4}, "b"),
        ((1, 2, 3, 4, object()), {"d": 4}, "rest[1]"),
        ((1, 2), {"d": object()}, "d"),
        ((1, 2), {"d": 4, "f": object()}, "f"),
        ((1, [0, 1, 2, Box(object())]), {"d": 4}, "b[3].content"),
        ((1, {"x": (object(),)}), {"d": 4}, "b['x'][0]"),
        ((1, {1: object()}), {"d": 4}, "b[1]"),
        ((1, {object: 1}), {"d": 4}, "b (key <class 'object'>)"),
        ((1, {int}), {"d": 4}, "b{<class 'int'>}"),
    ],
)
def test_a_refusal_names_the_job_and_the_place(args: tuple[Any, ...], kwargs: dict[str, Any], place: str) -> None:
    with pytest.raises(SerializationError) as raised:
        freeze(Binding("send_welcome", inspect.signature(everything)), args, kwargs)

    assert str(raised.value).startswith(f"job send_welcome: argument {place} is of type ")


def test_the_name_of_an_argument_is_a_text_like_any_other() -> None:
    with pytest.raises(SerializationError, match=r"job j: the names of the arguments\[1\] .*surrogate"):
        freeze(Binding("j", inspect.signature(everything)), (1, 2), {"d": 1, "\ud800": 1})


# refusals


def function() -> None: ...


@pytest.mark.parametrize(
    ("value", "kind", "advice"),
    [
        (object(), "object", "pass plain values"),
        (Text("x"), "test_arguments.Text", "plain str"),
        (Pair(1, 2), "Pair", "plain tuple"),
        (OrderedDict(), "collections.OrderedDict", "plain dict"),
        (defaultdict(list), "collections.defaultdict", "plain dict"),
        (Tally("x"), "Tally", "plain dict"),
        (type("Later", (datetime,), {})(2024, 1, 1), "Later", "plain datetime"),
        (frozenset(), "frozenset", "pass a set"),
        (bytearray(b"x"), "bytearray", "pass bytes"),
        (memoryview(b"x"), "memoryview", "pass bytes"),
        (range(3), "range", "pass a list"),
        ((item for item in [1]), "generator", "pass a list"),
        (function, "function", "pass its name"),
        (int, "type", "pass its name"),
        (1j, "complex", "pass plain values"),
        (ValueError("x"), "ValueError", "pass plain values"),
        (threading.Lock(), "lock", "pass plain values"),
        (msgspec.Raw(b"1"), "Raw", "pass plain values"),
        (WithInitVar("x"), "WithInitVar", "InitVar"),
        (OwnConstructor("a", "b"), "OwnConstructor", "constructor"),
    ],
)
@pytest.mark.parity("1a.25")
def test_what_would_not_come_back_as_it_was_is_refused_with_advice(value: object, kind: str, advice: str) -> None:
    message = refusal([value])

    assert message.startswith("job send_welcome: argument value[0] is of type ")
    assert kind in message
    assert advice in message


@pytest.mark.parametrize("value", ["\ud800", ["\udfff"], {"\ud800": 1}, Plain("\ud800")])
def test_half_a_surrogate_pair_is_refused(value: object) -> None:
    assert "surrogate" in refusal(value)


def test_a_time_zone_that_has_no_name_is_refused() -> None:
    class Moon(tzinfo):
        def utcoffset(self, when: datetime | None) -> timedelta:
            return timedelta(0)

        dst = utcoffset

        def tzname(self, when: datetime | None) -> str:
            return "moon"

    assert "zoneinfo.ZoneInfo" in refusal(datetime(2024, 1, 1, tzinfo=Moon()))
    assert "Moon" in refusal(time(1, tzinfo=Moon()))


def test_a_cycle_is_refused() -> None:
    items: list[object] = [1]
    items.append({"again": items})

    assert "argument value[1]['again'] contains itself" in refusal(items)


def test_an_object_that_appears_twice_is_no_cycle() -> None:
    shared = [1]

    assert there_and_back([shared, shared]) == [[1], [1]]


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_deep_nesting_is_refused_before_it_is_a_danger() -> None:
    assert there_and_back(nested(64)) == nested(64)
    assert "nested more than 64 levels" in refusal(nested(65))


def test_deep_nesting_near_the_end_of_the_stack_is_the_same_refusal() -> None:
    def deeper(levels: int) -> str:
        return refusal(nested(64)) if levels == 0 else deeper(levels - 1)

    depth = len(inspect.stack())

    assert "nested too deep" in deeper(sys.getrecursionlimit() - depth - 150)


def test_a_class_that_no_worker_could_find_is_refused() -> None:
    class Local(Enum):
        A = 1

    @dataclass
    class Here:
        a: int

    assert "top level of a module" in refusal(Local.A)
    assert "top level of a module" in refusal(Here(1))


def test_a_class_that_the_annotations_name_is_found_wherever_it_was_defined() -> None:
    @dataclass
    class Here:
        a: int

    types = types_of([list[Here]])
    sealed = freeze(Binding("j", ONE), ([Here(1)],), {}, types=types).seal()

    assert thaw(sealed, types).fill({}) == (([Here(1)],), {})
    with pytest.raises(ArgumentError, match="never imported"):
        thaw(sealed).fill({})


def test_a_mapped_class_without_a_locator_does_not_travel_by_its_columns() -> None:
    @dataclass
    class Mapped:
        __mapper__: ClassVar[object] = object()
        id: int

    assert "tenantjobs_sqlalchemy.install" in refusal(Mapped(1))


# records


@pytest.mark.parity("1a.24")
def test_a_record_travels_by_its_name_and_comes_back_as_it_was_located(orders: Orders) -> None:
    order = Order(7)
    held = frozen({"order": order, "again": [order]})
    thawed = thaw(held.seal())
    fresh = Order(7)

    assert held.references == [order, order]
    assert not held.pending
    assert thawed.references == (GlobalId("shop", "Order", ("7",)),)
    assert thawed.fill({thawed.references[0]: fresh}) == (({"order": fresh, "again": [fresh]},), {})


def test_references_are_in_the_order_of_the_call(orders: Orders) -> None:
    held = frozen([Order(3), {"a": Order(1), 5: (Order(2), Order(3))}, Box(Order(4))])

    assert [gid.key[0] for gid in thaw(held.seal()).references] == ["3", "1", "2", "4"]


def test_the_key_of_a_pending_record_is_filled_in_at_the_seal(orders: Orders) -> None:
    order = Order(None)
    held = frozen([order, {order}])
    assert held.pending
    assert held.references == [order, order]

    order.key = 9

    assert held.seal() == b'[[[{"$record":"gid://shop/Order/9"},{"$set":[{"$record":"gid://shop/Order/9"}]}]],{}]'
    assert not held.pending


def test_a_seal_stays_what_it_was(orders: Orders) -> None:
    order = Order(None)
    held = frozen(order)
    order.key = 9
    sealed = held.seal()
    order.key = 10

    assert held.seal() is sealed


def test_a_pending_record_that_never_got_a_key_fails_the_seal_and_may_be_sealed_later(orders: Orders) -> None:
    order = Order(None)
    held = frozen([order])

    with pytest.raises(SerializationError, match=r"job send_welcome: argument value cannot travel: .*Order"):
        held.seal()

    order.key = 1
    assert held.seal() == b'[[[{"$record":"gid://shop/Order/1"}]],{}]'


@pytest.mark.parity("1a.25")
def test_a_record_without_identity_is_refused_at_the_call(orders: Orders) -> None:
    assert refusal([Order(0)]) == (
        "job send_welcome: argument value[0] cannot travel: Order is in no session and was never saved"
    )


def test_a_record_that_was_not_located_is_an_argument_error(orders: Orders) -> None:
    with pytest.raises(ArgumentError, match="positional argument 1"):
        thaw(frozen(Order(1)).seal()).fill({})


# one value, as Current carries it


def test_one_value_is_encoded_by_the_same_rules(orders: Orders) -> None:
    tree = encode((1, Order(7)))
    one, order = decode(tree)

    assert tree == {"$tuple": [1, {"$record": "gid://shop/Order/7"}]}
    assert (one, type(order), order.key) == (1, Order, 7)
    assert references(tree) == (GlobalId("shop", "Order", ("7",)),)


def test_one_value_can_be_filled_with_records_that_were_awaited() -> None:
    tree = {"$tuple": [{"$record": "gid://shop/Order/7"}]}
    located = {gid: Order(7) for gid in references(tree)}

    assert decode(tree, locate=located.__getitem__) == tuple(located.values())


def test_one_value_cannot_wait_for_its_key(orders: Orders) -> None:
    with pytest.raises(SerializationError, match=r"Current\.user cannot travel: .*Order has no key"):
        encode(Order(None), what="Current.user")


def test_what_locating_raises_comes_out_as_it_is(orders: Orders) -> None:
    with pytest.raises(RecordGone):
        decode({"$record": "gid://shop/Order/404"})


@pytest.mark.parametrize("tree", [{"$record": 1}, {"$nonsense": 1}, {"$uuid": "x"}, {"a": 1, "$uuid": 2}])
def test_one_value_that_cannot_be_read_is_an_argument_error(tree: object) -> None:
    with pytest.raises(ArgumentError, match=r"Current\.user cannot be read"):
        decode(tree, what="Current.user")


# types_of


class Inner(msgspec.Struct):
    size: Size


@dataclass
class Outer:
    inner: list[Inner]
    parent: Outer | None = None


Moods = NewType("Moods", list[Mood])


def annotated(
    outer: dict[str, Outer | None],
    literal: Literal[Color.RED, "x"],
    generic: Box[Access],
    marked: Annotated[tuple[Mode, ...], "x"],
    called: Callable[[int], Point],
    named: Moods,
    number: int,
) -> Price | None: ...


def test_types_are_found_through_containers_and_fields() -> None:
    hints = get_type_hints(annotated)
    module = __name__

    assert types_of(hints) == {
        f"{module}:{kind.__qualname__}": kind
        for kind in (Outer, Inner, Size, Color, Box, Access, Mode, Point, Mood, Price)
    }


def test_annotations_that_exist_for_type_checkers_only_are_passed_over() -> None:
    @dataclass
    class Unresolved:
        other: Missing  # type: ignore[name-defined]  # noqa: F821  # that is what is tested

    assert list(types_of({"a": Unresolved, "b": "Unresolved"}).values()) == [Unresolved]


# what comes off the queue


def test_a_class_is_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)

    with pytest.raises(ArgumentError, match="this:Thing"):
        thaw(b'[[{"$enum":["this:Thing","A"]}],{}]').fill({})

    assert "this" not in sys.modules


def test_a_module_that_imports_when_it_is_asked_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    lazy = Lazy("lazy")
    lazy.__getattr__ = asked.append  # type: ignore[method-assign]  # a module's own __getattr__
    monkeypatch.setitem(sys.modules, "lazy", lazy)

    with pytest.raises(ArgumentError, match="lazy:Thing"):
        thaw(b'[[{"$enum":["lazy:Thing","A"]}],{}]').fill({})

    assert asked == []


@pytest.mark.parametrize(
    "path",
    [
        "builtins:int",
        "os:system",
        "os:path.join",
        "subprocess:Popen",
        f"{__name__}:Order",
        f"{__name__}:Order.__init__",
        f"{__name__}:ONE",
        "",
        ":",
        "os:",
        ":Color",
        "a:b:c",
    ],
)
@pytest.mark.parametrize("tag", ["$enum", "$dataclass", "$struct"])
def test_only_enums_dataclasses_and_structs_are_rebuilt(tag: str, path: str) -> None:
    data = msgspec.json.encode([[{tag: [path, {}]}], {}])

    with pytest.raises(ArgumentError):
        thaw(data).fill({})


def test_a_class_is_rebuilt_as_what_it_was() -> None:
    data = msgspec.json.encode([[{"$struct": [f"{__name__}:Point", {"x": 1}]}], {}])

    with pytest.raises(ArgumentError, match="is not a struct in this process"):
        thaw(data).fill({})


@pytest.mark.parametrize(
    ("fields_there", "problem"),
    [
        ({"x": 1, "y": 2, "z": 3}, "has no field z in this process"),
        ({"y": 2}, "x"),
        ([1, 2], "the fields of"),
    ],
)
def test_a_class_whose_fields_have_changed_is_an_argument_error(fields_there: object, problem: str) -> None:
    data = msgspec.json.encode([[{"$dataclass": [f"{__name__}:Point", fields_there]}], {}])

    with pytest.raises(ArgumentError, match=problem):
        thaw(data).fill({})


def test_a_field_that_is_new_here_has_its_default() -> None:
    data = msgspec.json.encode([[{"$dataclass": [f"{__name__}:Point", {"x": 1}]}], {}])

    assert thaw(data).fill({}) == ((Point(x=1, y=0),), {})


def test_a_member_that_is_gone_is_an_argument_error() -> None:
    data = msgspec.json.encode([[], {"color": {"$enum": [f"{__name__}:Color", "BLUE"]}}])

    with pytest.raises(ArgumentError, match="argument color cannot be read"):
        thaw(data).fill({})


def test_a_script_is_known_by_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ModuleType("__main__")
    script.__file__ = "/srv/shop.py"
    script.__spec__ = None
    Kind = Enum("Kind", "A", module="__main__")
    script.Kind = Kind  # type: ignore[attr-defined]  # as a script defines it
    monkeypatch.setitem(sys.modules, "__main__", script)
    sealed = frozen(Kind.A).seal()

    assert sealed == b'[[{"$enum":["shop:Kind","A"]}],{}]'
    assert thaw(sealed).fill({}) == ((Kind.A,), {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"null",
        b"[]",
        b"[[]]",
        b"[[],{},1]",
        b"[{},[]]",
        b'[[],{"a":1}',
        b'{"args":[]}',
        b"\xff",
        b'[["\\ud800"],{}]',
        b"[[1e999],{}]",
        b"[" * 100_000,
        b"[[" + b"[" * 300 + b"]" * 300 + b"],{}]",
        b"[[" + b'{"$tuple":[' * 200 + b"]}" * 200 + b"],{}]",
        b'[[{"$record":"nonsense"}],{}]',
        b'[[{"$set":[[]]}],{}]',
        b'[[{"$set":1}],{}]',
        b'[[{"$dict":[[[],1]]}],{}]',
        b'[[{"$dict":[[1]]}],{}]',
        b'[[{"$int":1}],{}]',
        b'[[{"$int":"zz"}],{}]',
        b'[[{"$float":"1.0"}],{}]',
        b'[[{"$bytes":"x"}],{}]',
        b'[[{"$datetime":"x"}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",7,null]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0,"../../etc/passwd"]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0,"America"]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0,"Nowhere/Land"]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0,[99999999999999999,"CET"]]}],{}]',
        b'[[{"$datetime":["2024-01-01T00:00:00",0,[0]]}],{}]',
        b'[[{"$timedelta":[1e9,0,0]}],{}]',
        b'[[{"$timedelta":[999999999999,0,0]}],{}]',
        b'[[{"$decimal":"x"}],{}]',
        b'[[{"$uuid":"x"}],{}]',
        b'[[{"$unset":1}],{}]',
        b'[[{"$enum":["a"]}],{}]',
        b'[[{"$later":1}],{}]',
    ],
)
@pytest.mark.parity("1a.26")
def test_what_is_no_arguments_is_an_argument_error(data: bytes) -> None:
    with pytest.raises(ArgumentError):
        thaw(data).fill({})


tags = ["int", "float", "bytes", "datetime", "date", "time", "timedelta", "decimal", "uuid", "unset"]
tags += ["tuple", "set", "dict", "enum", "dataclass", "struct", "record", "later"]
paths = st.sampled_from(
    [f"{__name__}:{kind}" for kind in ("Color", "Mode", "Line", "Tagged", "Point", "Box", "nothing")]
)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    paths,
    st.sampled_from(["RED", "nan", "2024-01-01T00:00:00", "Europe/Berlin", "1e5", "ff", "gid://shop/Order/1"]),
)
trees = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(texts | st.sampled_from(["x", "y", "content"]), inner, max_size=3),
        st.builds(lambda tag, content: {f"${tag}": content}, st.sampled_from(tags), inner),
        st.builds(
            lambda tag, path, content: {f"${tag}": [path, content]},
            st.sampled_from(["enum", "dataclass", "struct"]),
            paths,
            inner,
        ),
    ),
    max_leaves=10,
)


def read_or_argument_error(data: bytes) -> None:
    try:
        thawed = thaw(data)
        thawed.fill({gid: Order(1) for gid in thawed.references})
    except ArgumentError:
        pass


@settings(max_examples=400, deadline=None)
@given(trees)
def test_any_tree_is_read_or_an_argument_error(tree: object) -> None:
    read_or_argument_error(msgspec.json.encode([[tree], {"a": tree}]))


@settings(max_examples=300, deadline=None)
@given(values, st.data())
def test_damaged_arguments_are_read_or_an_argument_error(value: object, data: st.DataObject) -> None:
    sealed = bytearray(frozen(value).seal())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(sealed) - 1))
        damage = data.draw(st.sampled_from(["flip", "cut", "swap"]))
        if damage == "flip":
            sealed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif damage == "cut":
            del sealed[at : at + data.draw(st.integers(1, 9))]
        else:
            sealed[at : at + 1] = data.draw(st.sampled_from([b"{}", b"[", b'"', b"1", b"null", b"$"]))
        if not sealed:
            break
    read_or_argument_error(bytes(sealed))


@given(st.binary())
def test_any_bytes_are_read_or_an_argument_error(data: bytes) -> None:
    read_or_argument_error(data)
