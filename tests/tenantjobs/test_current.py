"""Current as its users meet it: setting, reading, refusing, capturing and restoring."""

from __future__ import annotations

import logging
import pickle
import timeit
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tenantjobs import current, identity, runtime
from tenantjobs.current import Snapshot, aload_attributes, alocate_tenant, attribute, cleared, locate_tenant
from tenantjobs.errors import (
    ArgumentError,
    ConfigurationError,
    CrossTenantSwitch,
    RecordGone,
    SerializationError,
    TenantGone,
    TenantMissing,
    TenantUnavailable,
)
from tenantjobs.identity import GlobalId, PendingRecord


@dataclass(eq=False)
class Account:
    id: Any


@dataclass(eq=False)
class User:
    id: int | None


class Request: ...


class Current(current.Current):
    tenant: Account | None = None
    user: User | None = attribute(default=None, load=True)
    request_id: str | None = None
    http_request: Request | None = attribute(default=None, carried=False)
    trace_data: Any = None
    home_region: str = "eu"


class Users:
    """A store of users, as a locator."""

    def __init__(self) -> None:
        self.stored: dict[str, User] = {}
        self.asked: list[str] = []

    def add(self, id: int) -> User:
        user = self.stored[str(id)] = User(id)
        return user

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        if not isinstance(record, User):
            return None
        return PendingRecord(record) if record.id is None else GlobalId("app", "User", (str(record.id),))

    def model_of(self, cls: type) -> str | None:
        return "User" if cls is User else None

    def knows(self, gid: GlobalId) -> bool:
        return gid.model == "User"

    def locate(self, gid: GlobalId) -> object:
        self.asked.append(gid.key[0])
        if gid.key[0] not in self.stored:
            raise RecordGone(f"{gid} is gone")
        return self.stored[gid.key[0]]

    async def alocate(self, gid: GlobalId) -> object:
        return self.locate(gid)

    def tenant_of(self, record: object) -> str | None:
        return None


@pytest.fixture
def users() -> Iterator[Users]:
    store = Users()
    identity.register(store)
    yield store
    identity.unregister(store)


def carried(scope: Any) -> Snapshot:
    """What travels of a scope, after the journey."""
    with scope:
        return Snapshot.decode(Current.capture().encode())


# Setting and reading


@pytest.mark.parity("1c.06")
def test_nothing_is_set_at_first() -> None:
    assert (Current.tenant, Current.tenant_id, Current.scope) == (None, None, "unset")
    assert (Current.user, Current.request_id, Current.home_region) == (None, None, "eu")


@pytest.mark.parity("1c.06", "1c.07")
def test_what_is_set_is_read_until_the_scope_is_left() -> None:
    acme, ann = Account(7), User(1)
    with Current.set(tenant=acme, user=ann, request_id="r-1"):
        assert (Current.tenant, Current.tenant_id, Current.scope) == (acme, "7", "tenant")
        assert (Current.user, Current.request_id) == (ann, "r-1")

    assert (Current.tenant, Current.user, Current.request_id, Current.scope) == (None, None, None, "unset")


def test_scopes_add_to_each_other() -> None:
    with Current.set(tenant_id="acme", request_id="r-1"):
        with Current.set(home_region="us"):
            assert (Current.tenant_id, Current.request_id, Current.home_region) == ("acme", "r-1", "us")
        assert Current.home_region == "eu"


@pytest.mark.parity("1c.07")
def test_an_inner_value_covers_the_outer_one_even_when_it_is_none() -> None:
    with Current.set(request_id="r-1"), Current.set(request_id=None):
        assert Current.request_id is None


def test_all_subclasses_share_one_store() -> None:
    class Regional(Current):
        branch: str | None = None

    with Regional.set(tenant_id="acme", branch="north", request_id="r-1"):
        assert (Current.tenant_id, Current.request_id) == ("acme", "r-1")
        assert current.Current.tenant_id == "acme"
        assert Regional.branch == "north"
    with Current.set(tenant_id="globex"):
        assert Regional.tenant_id == "globex"


def test_the_base_class_sets_what_any_subclass_declares() -> None:
    values: dict[str, Any] = {"tenant_id": "acme", "request_id": "r-1"}
    with current.Current.set(**values):
        assert Current.request_id == "r-1"


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("42", "42"),
        (42, "42"),
        ("acme", "acme"),
        (UUID("6F9619FF-8B86-D011-B42D-00CF4FC964FF"), "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    ],
)
def test_the_id_is_canonical_text(given: Any, canonical: str) -> None:
    with Current.set(tenant_id=given):
        assert canonical == Current.tenant_id
    with Current.set(tenant=Account(given)):
        assert canonical == Current.tenant_id


@pytest.mark.parametrize("nobody", [None, "", " ", "\t\n", 0, "0", False, True, 4.2, b"acme", []])
@pytest.mark.parametrize("name", ["tenant_id", "tenant"])
def test_no_tenant_is_never_all_tenants(name: str, nobody: object) -> None:
    values: Any = {name: nobody}
    refused = (ValueError, TypeError) if name == "tenant" else ValueError

    with pytest.raises(refused):
        Current.set(**values)
    with pytest.raises(refused):
        Current.switch("why", **values)


@pytest.mark.parametrize("nobody", [None, "", " ", 0, False])
def test_a_tenant_that_is_none_is_a_value_error(nobody: object) -> None:
    values: Any = {"tenant": nobody}

    with pytest.raises(ValueError):
        Current.set(**values)


def test_tenant_and_tenant_id_must_agree() -> None:
    with Current.set(tenant=Account(42), tenant_id=42):
        assert Current.tenant_id == "42"
    with pytest.raises(ValueError, match=r"tenant_id='43' is not the id of .*'42'"):
        Current.set(tenant=Account(42), tenant_id="43")


def test_a_falsy_tenant_is_a_tenant() -> None:
    class Empty(Account):
        def __len__(self) -> int:
            return 0

    empty = Empty(7)
    with Current.set(tenant=empty):
        assert Current.require_tenant() is empty


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    values: Any = {"requestid": "r-1"}

    with pytest.raises(TypeError, match=r"'requestid': did you mean request_id\?"):
        Current.set(**values)
    with pytest.raises(TypeError, match=r"'tenent': did you mean tenant\?"):
        Current.switch("why", tenant_id="acme", tenent=1)  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(TypeError, match="'zzz': no Current class declares it"):
        Current.set(zzz=1)  # type: ignore[call-arg]  # the mistake under test


@pytest.mark.parity("1c.06")
def test_attributes_are_set_by_name() -> None:
    with pytest.raises(TypeError, match="by name"):
        Current.set(Account(1))  # type: ignore[call-arg]  # the mistake under test


@pytest.mark.parity("1c.06")
def test_assignment_is_refused_with_the_way_out() -> None:
    with pytest.raises(AttributeError, match=r"with Current.set\(request_id=...\)"):
        Current.request_id = "r-1"
    with pytest.raises(AttributeError, match=r"with Current.set\(tenant=...\)"):
        Current.tenant = Account(1)
    with pytest.raises(AttributeError, match="tenant_id"):
        Current.tenant_id = "acme"  # type: ignore[assignment]  # the mistake under test
    with pytest.raises(AttributeError):
        Current.scope = "system"  # type: ignore[misc]  # the mistake under test
    with pytest.raises(AttributeError):
        del Current.request_id

    assert (Current.request_id, Current.scope) == (None, "unset")


def test_current_has_no_instances() -> None:
    with pytest.raises(TypeError, match="no instances"):
        Current()


@pytest.mark.parity("1c.06")
def test_reading_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        Current.usr  # type: ignore[attr-defined]  # the mistake under test


# Tenant, system, unset


def test_another_tenant_inside_a_tenants_scope_is_refused() -> None:
    with Current.set(tenant_id="acme"):
        with pytest.raises(CrossTenantSwitch, match=r"globex.*acme.*Current\.switch"), Current.set(tenant_id="globex"):
            pass

        assert Current.tenant_id == "acme"


def test_the_same_tenant_inside_its_scope_is_fine_in_any_form() -> None:
    with Current.set(tenant_id="42"), Current.set(tenant_id=42), Current.set(tenant=Account(42)):
        assert Current.tenant_id == "42"


def test_the_object_of_the_tenant_stays_known_when_its_id_is_set_again() -> None:
    acme = Account("acme")
    with Current.set(tenant=acme), Current.set(tenant_id="acme", request_id="r-1"):
        assert Current.tenant is acme


def test_a_scope_is_compared_with_the_tenant_where_it_is_entered() -> None:
    prepared = Current.set(tenant_id="globex")
    with Current.set(tenant_id="acme"), pytest.raises(CrossTenantSwitch), prepared:
        pass
    with prepared:
        assert Current.tenant_id == "globex"


def test_switch_is_the_door_to_another_tenant() -> None:
    with Current.set(tenant_id="acme", request_id="r-1"):
        with Current.switch("support copy", tenant=Account("globex")):
            assert (Current.tenant_id, Current.request_id) == ("globex", "r-1")
        assert Current.tenant_id == "acme"


def test_switch_needs_a_tenant_to_switch_to() -> None:
    with pytest.raises(TypeError, match="tenant_id"):
        Current.switch("support copy", request_id="r-1")


@pytest.mark.parametrize("reason", ["", "  ", None, 7])
def test_switch_and_system_need_a_reason(reason: Any) -> None:
    with pytest.raises(ValueError, match="reason"):
        Current.system(reason)
    with pytest.raises(ValueError, match="reason"):
        Current.switch(reason, tenant_id="acme")


def test_system_scope_is_for_all_tenants_and_has_none() -> None:
    with Current.set(tenant_id="acme"), Current.system("nightly cleanup"):
        assert (Current.scope, Current.tenant_id, Current.tenant) == ("system", None, None)
        assert Current.capture() == Snapshot(system="nightly cleanup")


def test_inside_system_scope_one_tenant_after_the_other_can_be_set() -> None:
    seen = []
    with Current.system("nightly cleanup"):
        for tenant_id in ("acme", "globex"):
            with Current.set(tenant_id=tenant_id):
                seen.append((Current.scope, Current.tenant_id))
        assert Current.scope == "system"

    assert seen == [("tenant", "acme"), ("tenant", "globex")]


def test_reasons_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tenantjobs.current"):
        with Current.system("nightly cleanup"), Current.switch("support copy", tenant_id="acme"):
            pass

    assert caplog.messages == ["system scope: nightly cleanup", "switch to tenant acme: support copy"]


def test_require_tenant_gives_the_tenant_or_says_what_to_do() -> None:
    acme = Account("acme")
    with Current.set(tenant=acme):
        assert Current.require_tenant() is acme
    with pytest.raises(TenantMissing, match=r"the scope is unset.*Current\.set"):
        Current.require_tenant()
    with Current.system("cleanup"), pytest.raises(TenantMissing, match="the scope is system"):
        Current.require_tenant()


# Capturing and restoring


def test_a_captured_scope_is_restored_as_it_was() -> None:
    snapshot = carried(Current.set(tenant_id="acme", request_id="r-1"))

    with Current.restored(snapshot):
        assert (Current.tenant_id, Current.request_id, Current.scope) == ("acme", "r-1", "tenant")
        assert Current.capture() is snapshot
    assert Current.scope == "unset"


def test_restoring_replaces_everything_that_is_there() -> None:
    with Current.set(tenant_id="acme", request_id="r-1"):
        with Current.restored(Snapshot(tenant_id="globex")):
            assert (Current.tenant_id, Current.request_id) == ("globex", None)
        with Current.restored(Snapshot()):
            assert (Current.scope, Current.request_id) == ("unset", None)
        with cleared():
            assert (Current.scope, Current.request_id) == ("unset", None)
            assert not Current.capture()
        assert (Current.tenant_id, Current.request_id) == ("acme", "r-1")


def test_a_system_scope_travels_with_its_reason() -> None:
    snapshot = carried(Current.system("nightly cleanup"))

    with Current.restored(snapshot):
        assert (Current.scope, Current.capture().system) == ("system", "nightly cleanup")


def test_only_ids_travel_of_the_tenant() -> None:
    assert carried(Current.set(tenant=Account(7))) == Snapshot(tenant_id="7")


@pytest.mark.parametrize("value", ["é", 7, 1.5, True, [1, {"a": None}], (1, 2), {1, 2}, Decimal("1.50"), b"\x00", {}])
def test_plain_values_travel_as_they_are(value: object) -> None:
    with Current.restored(carried(Current.set(trace_data=value))):
        assert value == Current.trace_data
        assert type(value) is type(Current.trace_data)
        assert Current.trace_data is Current.trace_data


def test_what_is_not_carried_stays_behind() -> None:
    with Current.set(tenant_id="acme", http_request=Request()):
        assert Current.capture() == Snapshot(tenant_id="acme")


def test_what_is_not_carried_is_not_taken_from_a_message_either() -> None:
    with Current.restored(Snapshot(attributes={"http_request": "forged"})):
        assert Current.http_request is None


def test_a_default_does_not_travel() -> None:
    assert carried(Current.set(tenant_id="acme", request_id=None, home_region="eu")) == Snapshot(tenant_id="acme")


def test_what_cannot_travel_is_refused_at_capture_with_its_name() -> None:
    with Current.set(trace_data=Request()):
        with pytest.raises(SerializationError, match=r"Current\.trace_data.*Request.*carried=False"):
            Current.capture()


def test_a_capture_is_kept_until_something_changes() -> None:
    with Current.set(tenant_id="acme", request_id="r-1"):
        assert Current.capture() is Current.capture()
        with Current.set(request_id="r-2"):
            assert Current.capture() == Snapshot(tenant_id="acme", attributes={"request_id": "r-2"})
        assert Current.capture() == Snapshot(tenant_id="acme", attributes={"request_id": "r-1"})


def test_a_capture_is_of_the_moment_also_when_a_value_is_changed_in_place() -> None:
    steps = ["one"]
    with Current.set(trace_data=steps):
        before = Current.capture()
        steps.append("two")
        after = Current.capture()

    assert (before.attributes, after.attributes) == ({"trace_data": ["one"]}, {"trace_data": ["one", "two"]})


def test_values_of_attributes_that_only_other_processes_know_travel_on() -> None:
    snapshot = Snapshot(tenant_id="acme", attributes={"of_a_newer_version": [1]})

    with Current.restored(snapshot), Current.set(request_id="r-1"):
        assert Current.capture().attributes == {"of_a_newer_version": [1], "request_id": "r-1"}


def test_a_value_that_cannot_be_read_is_an_error_where_it_is_used() -> None:
    with Current.restored(Snapshot(tenant_id="acme", attributes={"trace_data": {"$enum": ["no.such:Colour", "RED"]}})):
        assert Current.tenant_id == "acme"
        with pytest.raises(ArgumentError, match=r"Current\.trace_data"):
            Current.trace_data


def test_restoring_does_no_input_or_output(users: Users) -> None:
    snapshot = Snapshot(tenant_id="acme", attributes={"user": {"$gid": "gid://app/User/1"}})
    with runtime.override(tenant_locator=users.asked.append), Current.restored(snapshot):
        assert Current.capture() is snapshot
        assert Current.tenant_id == "acme"

    assert users.asked == []


# Records


def test_a_record_travels_as_a_reference_and_is_located_on_first_use(users: Users) -> None:
    ann = users.add(1)
    snapshot = carried(Current.set(user=ann))

    with Current.restored(snapshot):
        assert b"gid://app/User/1" in snapshot.encode()
        assert users.asked == []
        assert Current.user is ann
        assert Current.user is ann
        assert users.asked == ["1"]


def test_a_record_that_has_no_name_is_refused_at_capture(users: Users) -> None:
    strangers: list[Any] = [User(None), SimpleNamespace(id=1), "ann"]
    for stranger in strangers:
        with Current.set(user=stranger), pytest.raises(SerializationError, match=r"Current\.user.*load=True"):
            Current.capture()


def test_a_record_in_a_plain_attribute_travels_as_a_reference_too(users: Users) -> None:
    ann = users.add(1)
    with Current.restored(carried(Current.set(trace_data={"by": ann}))):
        assert Current.trace_data == {"by": ann}


def test_a_record_that_is_gone_is_an_error_where_it_is_used(users: Users) -> None:
    with Current.restored(carried(Current.set(tenant_id="acme", user=User(9)))):
        assert Current.tenant_id == "acme"
        with pytest.raises(RecordGone):
            Current.user


def test_a_record_that_was_never_read_travels_on_unread(users: Users) -> None:
    snapshot = carried(Current.set(user=User(9)))
    with Current.restored(snapshot), Current.set(request_id="r-1"):
        assert Current.capture().attributes["user"] == snapshot.attributes["user"]

    assert users.asked == []


async def test_records_that_are_marked_are_awaited_by_the_door(users: Users) -> None:
    ann = users.add(1)
    with Current.restored(carried(Current.set(tenant_id="acme", user=ann, trace_data=ann))):
        await aload_attributes()
        assert users.asked == ["1"]
        assert Current.user is ann
        assert users.asked == ["1"]
    with Current.restored(carried(Current.system("cleanup"))), Current.set(user=ann):
        await aload_attributes()
        assert Current.user is ann


async def test_a_record_that_could_not_be_awaited_is_an_error_where_it_is_used(users: Users) -> None:
    with Current.restored(carried(Current.set(tenant_id="acme", user=User(9)))):
        await aload_attributes()
        with pytest.raises(RecordGone):
            Current.user


# Locating the tenant


def test_the_tenant_is_located_on_first_use_and_kept_for_its_scope() -> None:
    acme = Account("acme")
    asked = []

    def find(tenant_id: str) -> Account:
        asked.append(tenant_id)
        return acme

    with runtime.override(tenant_locator=find), Current.set(tenant_id="acme"):
        assert asked == []
        with Current.set(request_id="r-1"):
            assert Current.tenant is acme
        assert Current.require_tenant() is acme

    assert asked == ["acme"]


def test_the_object_that_was_set_is_never_located() -> None:
    acme = Account("acme")
    with runtime.override(tenant_locator=lambda tenant_id: None), Current.set(tenant=acme):
        assert Current.tenant is acme
        assert locate_tenant() is acme


def test_a_tenant_that_is_gone_or_unavailable_says_so_but_keeps_its_id() -> None:
    def fail(tenant_id: str) -> Account:
        raise OSError("no route to host")

    with Current.set(tenant_id="acme"):
        with runtime.override(tenant_locator=lambda tenant_id: None):
            with pytest.raises(TenantGone, match="acme"):
                Current.tenant
        with runtime.override(tenant_locator=fail):
            with pytest.raises(TenantUnavailable, match=r"acme.*no route to host") as caught:
                Current.require_tenant()
        assert isinstance(caught.value.__cause__, OSError)
        assert Current.tenant_id == "acme"


def test_without_configuration_only_the_object_is_missing() -> None:
    with Current.set(tenant_id="acme"):
        assert Current.tenant_id == "acme"
        with pytest.raises(ConfigurationError, match=r"configure\(tenant=Account\)"):
            Current.tenant
        assert locate_tenant() is None

    assert Current.tenant is None


async def test_the_door_asks_the_store_past_the_cache() -> None:
    found: dict[str, Account] = {"acme": Account("acme")}
    with runtime.override(tenant_locator=found.get):
        with Current.set(tenant_id="acme"):
            assert locate_tenant() is found["acme"]
        del found["acme"]
        with Current.restored(Snapshot(tenant_id="acme")), pytest.raises(TenantGone):
            locate_tenant()
        with Current.restored(Snapshot(tenant_id="acme")), pytest.raises(TenantGone):
            await alocate_tenant()


async def test_what_the_door_has_located_is_the_tenant() -> None:
    acme = Account("acme")

    async def find(tenant_id: str) -> Account:
        return acme

    with runtime.override(tenant_locator=find), Current.set(tenant_id="acme"):
        with pytest.raises(ConfigurationError, match="alocate_tenant"):
            Current.tenant
        assert await alocate_tenant() is acme
        assert Current.tenant is acme


async def test_the_door_misses_a_tenant_only_where_none_was_meant() -> None:
    with pytest.raises(TenantMissing):
        locate_tenant()
    with pytest.raises(TenantMissing):
        await alocate_tenant()
    with Current.system("cleanup"):
        assert locate_tenant() is None
        assert await alocate_tenant() is None


# Cost


def test_capture_and_restore_cost_little() -> None:
    def journey() -> None:
        with Current.restored(snapshot):
            Current.capture()

    snapshot = Snapshot(tenant_id="42", attributes={"request_id": "r-1"})

    assert min(timeit.repeat(journey, number=1000, repeat=20)) / 1000 < 50e-6  # a tenth of that, on a quiet machine


def test_snapshots_can_be_handed_to_other_processes() -> None:
    snapshot = carried(Current.set(tenant_id="acme", trace_data=[1]))

    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
