"""From the tenant's object to its id, and back, by whatever the configuration says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from tenantjobs import identity, runtime, tenants
from tenantjobs.errors import (
    ConfigurationError,
    RecordGone,
    RecordUnavailable,
    SerializationError,
    TenantGone,
    TenantUnavailable,
    WrongTenant,
)
from tenantjobs.identity import GlobalId, PendingRecord


@dataclass(eq=False)
class Account:
    id: Any
    key: tuple[str, ...] | None = None
    pending: bool = False


class Accounts:
    """A store of accounts, as a locator of records. An account is stored when it has a key."""

    def __init__(self) -> None:
        self.stored: dict[str, Account] = {}
        self.error: Exception | None = None
        self.asked: list[GlobalId] = []

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        if not isinstance(record, Account):
            return None
        elif record.pending:
            return PendingRecord(record)
        elif record.key is None:
            raise SerializationError("a transient account has no identity")
        else:
            return GlobalId("shop", "Account", record.key)

    def model_of(self, cls: type) -> str | None:
        return "Account" if issubclass(cls, Account) else None

    def knows(self, gid: GlobalId) -> bool:
        return gid.model == "Account"

    def locate(self, gid: GlobalId) -> object:
        self.asked.append(gid)
        if self.error is not None:
            raise self.error
        return self.stored[gid.key[0]]

    async def alocate(self, gid: GlobalId) -> object:
        return self.locate(gid)

    def tenant_of(self, record: object) -> str | None:
        return None


@pytest.fixture
def accounts() -> Iterator[Accounts]:
    store = Accounts()
    identity.register(store)
    with runtime.override(name="shop", tenant=Account):
        yield store
    identity.unregister(store)


# The id of an object


def test_the_id_of_a_stored_record_is_its_key(accounts: Accounts) -> None:
    assert tenants.id_of(Account(id="not this", key=("42",))) == "42"


@pytest.mark.parametrize("pending", [False, True])
def test_a_record_that_is_not_stored_yet_counts_by_the_id_it_was_given(accounts: Accounts, pending: bool) -> None:
    assert tenants.id_of(Account(id="acme", pending=pending)) == "acme"


@pytest.mark.parametrize("pending", [False, True])
def test_a_record_without_an_id_is_no_tenant_yet(accounts: Accounts, pending: bool) -> None:
    with pytest.raises(ValueError, match="flush or commit"):
        tenants.id_of(Account(id=None, pending=pending))


def test_a_key_of_several_parts_needs_an_identify(accounts: Accounts) -> None:
    account = Account(id=7, key=("7", "eu"))
    with pytest.raises(ConfigurationError, match="2 parts"):
        tenants.id_of(account)

    with runtime.override(tenant_locator=SimpleNamespace(identify=lambda tenant: "-".join(tenant.key))):
        assert tenants.id_of(account) == "7-eu"


def test_an_object_of_another_class_is_no_tenant(accounts: Accounts) -> None:
    with pytest.raises(TypeError, match="of class Account here"):
        tenants.id_of(SimpleNamespace(id=7))
    with pytest.raises(TypeError, match="write tenant_id='42'"):
        tenants.id_of("42")


def test_any_object_with_an_id_will_do_where_nothing_is_configured() -> None:
    assert tenants.id_of(SimpleNamespace(id=42)) == "42"
    assert tenants.id_of("acme") == "acme"
    with pytest.raises(TypeError, match="identify"):
        tenants.id_of(SimpleNamespace(slug="acme"))
    with pytest.raises(ValueError):
        tenants.id_of(SimpleNamespace(id=0))


def test_a_locator_with_identify_says_what_the_id_is() -> None:
    ids: dict[str, Any] = {"acme": 42, "globex": GlobalId("shop", "Account", ("43",)), "initech": None}
    locator = SimpleNamespace(identify=lambda tenant: ids[tenant.slug])

    with runtime.override(tenant_locator=locator):
        assert tenants.id_of(SimpleNamespace(slug="acme")) == "42"
        assert tenants.id_of(SimpleNamespace(slug="globex")) == "43"
        assert tenants.id_of(SimpleNamespace(slug="initech", id="i")) == "i"


# By class


def test_a_tenant_is_a_record_of_the_configured_class(accounts: Accounts) -> None:
    acme = accounts.stored["42"] = Account(42, ("42",))

    assert tenants.locate("42") is acme
    assert accounts.asked == [GlobalId("shop", "Account", ("42",))]
    assert asyncio.run(tenants.alocate("42")) is acme


def test_gone_and_unavailable_are_told_apart(accounts: Accounts) -> None:
    for error, expected in (
        (RecordGone("no row"), TenantGone),
        (RecordUnavailable("no route"), TenantUnavailable),
        (OSError("no route"), TenantUnavailable),
    ):
        accounts.error = error
        with pytest.raises(expected, match="tenant 42") as caught:
            tenants.locate("42")
        assert caught.value.__cause__ is error
        with pytest.raises(expected, match="tenant 42"):
            asyncio.run(tenants.alocate("42"))


def test_our_own_errors_come_out_as_they_are(accounts: Accounts) -> None:
    accounts.error = WrongTenant("not yours")

    with pytest.raises(WrongTenant):
        tenants.locate("42")


def test_a_class_that_no_locator_knows_is_a_mistake_in_the_configuration() -> None:
    with runtime.override(tenant=Account), pytest.raises(ConfigurationError, match=r"Account.*install"):
        tenants.locate("42")


def test_nothing_configured_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"configure\(tenant=Account\)"):
        tenants.locate("42")
    with runtime.override(tenant_locator=object()), pytest.raises(ConfigurationError, match="can look up nothing"):
        tenants.locate("42")


# By function


def test_a_function_is_asked_once_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    now = 100.0

    def find(tenant_id: str) -> str:
        asked.append(tenant_id)
        return f"tenant {tenant_id}"

    monkeypatch.setattr(time, "monotonic", lambda: now)
    with runtime.override(tenant_locator=find):
        assert {tenants.locate("a") for _ in range(5)} == {"tenant a"}
        assert asked == ["a"]
        now += 1.01
        tenants.locate("a")
        assert asked == ["a", "a"]
        tenants.locate("a", fresh=True)
        assert asked == ["a", "a", "a"]


def test_answers_are_kept_up_to_a_bound() -> None:
    asked: list[str] = []

    def find(tenant_id: str) -> str:
        asked.append(tenant_id)
        return tenant_id

    with runtime.override(tenant_locator=find):
        for number in range(1, 1026):
            tenants.locate(str(number))
            tenants.locate("1")  # used all the time, so never the one that has to go
        assert len(tenants._lookups) == 1024
        assert asked.count("1") == 1
        del asked[:]
        tenants.locate("2")
        tenants.locate("1025")
        assert asked == ["2"]


def test_nothing_is_kept_of_a_tenant_that_is_not_there() -> None:
    stored: dict[str, str] = {}
    with runtime.override(tenant_locator=stored.get):
        with pytest.raises(TenantGone):
            tenants.locate("a")
        stored["a"] = "tenant a"
        assert tenants.locate("a") == "tenant a"


def test_nothing_is_kept_when_the_configuration_changes() -> None:
    with runtime.override(tenant_locator=lambda tenant_id: "first"):
        assert tenants.locate("a") == "first"
        with runtime.override(tenant_locator=lambda tenant_id: "second"):
            assert tenants.locate("a") == "second"
        assert tenants.locate("a") == "first"


def test_nothing_is_kept_from_one_test_to_the_next() -> None:
    stored = {"a": "first"}

    def find(tenant_id: str) -> str | None:
        return stored.get(tenant_id)

    for answer in ("first", "second"):
        stored["a"] = answer
        with runtime.override(tenant_locator=find):
            assert tenants.locate("a") == answer


def test_a_record_is_not_kept_for_it_belongs_to_its_session(accounts: Accounts) -> None:
    with runtime.override(tenant_locator=Account):
        assert tenants.locate("42") is not tenants.locate("42")


def test_threads_may_ask_at_once() -> None:
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            for number in range(1, 3000):
                assert tenants.locate(str(number % 1500 + 1)) == str(number % 1500 + 1)
        except BaseException as error:
            errors.append(error)

    with runtime.override(tenant_locator=str):
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert errors == []


# By object, and async


def test_an_object_is_asked_every_time() -> None:
    asked: list[str] = []

    def find(tenant_id: str) -> str:
        asked.append(tenant_id)
        return tenant_id

    locator = SimpleNamespace(locate=find)
    with runtime.override(tenant_locator=locator):
        assert [tenants.locate("a"), tenants.locate("a"), asyncio.run(tenants.alocate("a"))] == ["a", "a", "a"]

    assert asked == ["a", "a", "a"]


class Asynchronous:
    async def alocate(self, tenant_id: str) -> str | None:
        await asyncio.sleep(0)
        return None if tenant_id == "gone" else f"tenant {tenant_id}"


@pytest.mark.parametrize("locator", [Asynchronous(), Asynchronous().alocate, lambda it: Asynchronous().alocate(it)])
async def test_an_async_locator_is_awaited(locator: Any) -> None:
    with runtime.override(tenant_locator=locator):
        assert await tenants.alocate("a") == "tenant a"
        with pytest.raises(TenantGone):
            await tenants.alocate("gone")


@pytest.mark.parametrize("locator", [Asynchronous(), Asynchronous().alocate, lambda it: Asynchronous().alocate(it)])
def test_an_async_locator_works_in_synchronous_code(locator: Any) -> None:
    with runtime.override(tenant_locator=locator):
        assert tenants.locate("a") == "tenant a"
        with pytest.raises(TenantGone):
            tenants.locate("gone")


@pytest.mark.parametrize("locator", [Asynchronous(), Asynchronous().alocate, lambda it: Asynchronous().alocate(it)])
async def test_an_async_locator_is_refused_where_it_would_stop_the_loop(locator: Any) -> None:
    with runtime.override(tenant_locator=locator):
        with pytest.raises(ConfigurationError, match="alocate_tenant"):
            tenants.locate("a")
        assert await asyncio.to_thread(tenants.locate, "a") == "tenant a"


async def test_a_blocking_locator_does_not_block_the_loop() -> None:
    loop_thread = threading.get_ident()
    seen: list[int] = []

    def find(tenant_id: str) -> str:
        seen.append(threading.get_ident())
        return tenant_id

    for locator in (find, SimpleNamespace(locate=find)):
        with runtime.override(tenant_locator=locator):
            await tenants.alocate("a")

    assert loop_thread not in seen


async def test_an_error_of_an_async_locator_is_unavailable() -> None:
    async def fail(tenant_id: str) -> str:
        raise OSError("no route")

    with runtime.override(tenant_locator=fail):
        with pytest.raises(TenantUnavailable, match="no route"):
            await tenants.alocate("a")
