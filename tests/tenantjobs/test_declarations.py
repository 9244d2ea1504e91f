"""What a Current class may declare, and what it may not."""

from __future__ import annotations

import enum
import sys
from types import ModuleType
from typing import Any, ClassVar, Optional

import pytest

from tenantjobs import current, declarations
from tenantjobs.current import Snapshot, attribute
from tenantjobs.errors import ConfigurationError


class Colour(enum.Enum):
    RED = "red"


class Painted(current.Current):
    colour: Colour | None = None
    colours: tuple[Colour, ...] = ()


def define(text: str, module: str = "shop.context", **names: Any) -> Any:
    """The Current class of a module with this text."""
    loaded = sys.modules.setdefault(module, ModuleType(module))
    vars(loaded).update({"base": current, "attribute": attribute, "Any": Any, "ClassVar": ClassVar, **names})
    exec(compile(text, module, "exec", dont_inherit=True), vars(loaded))  # noqa: S102  # a module of its own
    return vars(loaded)["Current"]


@pytest.fixture(autouse=True)
def _register() -> Any:
    before = dict(declarations.known)
    yield
    declarations.known.clear()
    declarations.known.update(before)
    for module in ("shop.context", "shop.other"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    "name", ["set", "switch", "system", "restored", "capture", "scope", "tenant_id", "require_tenant", "reset", "_own"]
)
@pytest.mark.parity("1c.06")
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Current cannot be declared:\n- {name}: the name is taken"):
        define(f"class Current(base.Current):\n    {name}: str | None = None")


@pytest.mark.parity("1c.06")
def test_reserved_names_are_refused_for_methods_too() -> None:
    with pytest.raises(ConfigurationError, match="capture: the name is taken"):
        define("class Current(base.Current):\n    def capture(self): ...")
    with pytest.raises(ConfigurationError, match="tenant: the name is taken"):
        define("class Current(base.Current):\n    tenant = None")


@pytest.mark.parametrize("default", ["[]", "{}", "set()", "bytearray()"])
@pytest.mark.parity("1c.06")
def test_mutable_defaults_are_refused(default: str) -> None:
    for given in (default, f"attribute(default={default})"):
        with pytest.raises(ConfigurationError, match="would be shared by all"):
            define(f"class Current(base.Current):\n    labels: Any = {given}")


@pytest.mark.parity("1c.06")
def test_an_attribute_needs_a_type() -> None:
    with pytest.raises(ConfigurationError, match="labels: say its type"):
        define("class Current(base.Current):\n    labels = attribute(default=None)")


@pytest.mark.parity("1c.06")
def test_load_and_not_carried_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="choose one"):
        define("class Current(base.Current):\n    owner: Any = attribute(default=None, load=True, carried=False)")


@pytest.mark.parametrize("given", ["7", "attribute(default=None, carried=False)", "attribute(default=None, load=True)"])
def test_the_tenant_has_no_options(given: str) -> None:
    with pytest.raises(ConfigurationError, match="tenant: it has no options"):
        define(f"class Current(base.Current):\n    tenant: Any = {given}")


@pytest.mark.parity("1c.06")
def test_all_mistakes_are_told_at_once_and_nothing_is_declared() -> None:
    with pytest.raises(ConfigurationError, match=r"set: .*\n- labels: ") as caught:
        define("class Current(base.Current):\n    set: str = ''\n    labels: list = []\n    fine: str = ''")

    assert str(caught.value).count("\n- ") == 2
    assert "fine" not in declarations.known


@pytest.mark.parametrize(
    "other",
    [
        "area: int | None = None",
        "area: str | None = 'eu'",
        "area: str | None = attribute(default=None, load=True)",
        "area: str | None = attribute(default=None, carried=False)",
        "area: Missing | None = None",
    ],
)
@pytest.mark.parity("1c.06")
def test_two_classes_must_not_declare_one_name_differently(other: str) -> None:
    future = "from __future__ import annotations\n"
    define(f"{future}class Current(base.Current):\n    area: str | None = None")

    with pytest.raises(ConfigurationError, match=r"area: .* here, but str \| None \(default=None\) in shop.context"):
        define(f"{future}class Current(base.Current):\n    {other}", "shop.other")


def test_a_method_must_not_hide_an_attribute_of_another_class() -> None:
    define("class Current(base.Current):\n    area: str | None = None")

    with pytest.raises(ConfigurationError, match=r"area: it would hide the attribute of shop\.context\.Current"):
        define("class Current(base.Current):\n    def area(self): ...", "shop.other")


def test_the_same_declaration_twice_is_one_attribute_however_it_is_written() -> None:
    one = define("class Current(base.Current):\n    area: str | None = None")
    future = "from __future__ import annotations\n"
    other = define(
        f"{future}class Current(base.Current):\n    area: Optional[str] = None", "shop.other", Optional=Optional
    )

    with one.set(area="eu"):
        assert other.area == "eu"


def test_a_module_that_is_loaded_again_may_declare_anew() -> None:
    define("class Current(base.Current):\n    area: str | None = None")
    again = define("class Current(base.Current):\n    area: str = 'eu'")

    assert again.area == "eu"


def test_a_declaration_lives_as_long_as_its_class() -> None:
    def local() -> None:
        class Current(current.Current):
            short_lived: str | None = None

    local()

    class Current(current.Current):
        short_lived: int = 7

    assert Current.short_lived == 7
    with pytest.raises(ConfigurationError, match="short_lived"):

        class Other(current.Current):
            short_lived: str | None = None


def test_the_tenant_may_be_narrowed_by_each_class() -> None:
    one = define("class Current(base.Current):\n    tenant: int | None = None")
    other = define("class Current(base.Current):\n    tenant: str | None = None", "shop.other")

    with one.set(tenant_id="acme"):
        assert other.tenant_id == "acme"


def test_methods_constants_and_class_variables_are_left_alone() -> None:
    defined = define(
        "class Current(base.Current):\n"
        "    LIMIT: ClassVar[int] = 7\n"
        "    @classmethod\n"
        "    def label(cls): return f'{cls.tenant_id}-{cls.LIMIT}'\n"
        "    @property\n"
        "    def other(self): ..."
    )

    with defined.set(tenant_id="acme"):
        assert defined.label() == "acme-7"
    assert "LIMIT" not in declarations.known


@pytest.mark.parity("1c.06")
def test_annotations_need_not_be_texts_and_a_bare_one_defaults_to_none() -> None:
    defined = define("class Current(base.Current):\n    area: str | None", "shop.other")

    assert defined.area is None


def test_an_attribute_may_have_a_type_that_only_checkers_know() -> None:
    defined = define(
        "from __future__ import annotations\nclass Current(base.Current):\n    owner: Missing | None = None"
    )

    with defined.restored(Snapshot(attributes={"owner": [1]})):
        assert defined.owner == [1]


def test_the_annotation_says_which_classes_a_value_may_be_rebuilt_as() -> None:
    with Painted.set(colour=Colour.RED, colours=(Colour.RED,)):
        snapshot = Snapshot.decode(Painted.capture().encode())

    with Painted.restored(snapshot):
        assert (Painted.colour, Painted.colours) == (Colour.RED, (Colour.RED,))
