"""How scopes are left: in order, out of order, elsewhere, in tasks, threads and generators."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantjobs import current, scopes
from tenantjobs.current import Snapshot
from tenantjobs.errors import CrossTenantSwitch


class Current(current.Current):
    request_id: str | None = None


def tenant(tenant_id: str) -> Any:
    return Current.switch("a test", tenant_id=tenant_id)


def leave(scope: Any) -> None:
    scope.__exit__(None, None, None)


# In order


@pytest.mark.parity("1c.08")
def test_a_scope_gives_back_what_was_there_before() -> None:
    with tenant("acme"):
        with tenant("globex"):
            with tenant("initech"):
                assert Current.tenant_id == "initech"
            assert Current.tenant_id == "globex"
        assert Current.tenant_id == "acme"

    assert Current.tenant_id is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parity("1c.07")
def test_a_scope_is_left_by_any_exception(error: type[BaseException]) -> None:
    with pytest.raises(error), tenant("acme"):
        raise error

    assert Current.scope == "unset"


@pytest.mark.parity("1c.07")
def test_a_scope_can_be_entered_once() -> None:
    scope = tenant("acme")
    with scope:
        with pytest.raises(RuntimeError, match="make another one"), scope:
            pass
        assert Current.tenant_id == "acme"

    with pytest.raises(RuntimeError, match="make another one"), scope:
        pass
    assert Current.scope == "unset"


@pytest.mark.parity("1c.08")
def test_leaving_a_scope_a_second_time_changes_nothing() -> None:
    scope = tenant("acme")
    with tenant("globex"):
        with scope:
            pass
        leave(scope)

        assert Current.tenant_id == "globex"


def test_a_scope_that_was_never_entered_changes_nothing_when_left() -> None:
    with tenant("globex"):
        leave(tenant("acme"))

        assert Current.tenant_id == "globex"


def test_a_scope_that_could_not_be_entered_is_not_left_behind() -> None:
    with tenant("acme"):
        with pytest.raises(CrossTenantSwitch), Current.set(tenant_id="globex"):
            pass
        assert Current.tenant_id == "acme"

    assert Current.scope == "unset"


# Out of order


@pytest.mark.parity("1c.07", "1c.08")
def test_a_scope_left_out_of_order_never_resurrects_a_stale_tenant() -> None:
    outer, inner = tenant("acme"), tenant("globex")
    outer.__enter__()
    inner.__enter__()

    leave(outer)
    assert Current.tenant_id == "globex"

    leave(inner)
    assert Current.scope == "unset"


@pytest.mark.parity("1c.08")
def test_after_leaving_out_of_order_the_nearest_open_scope_counts() -> None:
    opened = [tenant("acme"), tenant("globex"), tenant("initech")]
    for scope in opened:
        scope.__enter__()

    leave(opened[1])
    assert Current.tenant_id == "initech"

    leave(opened[2])
    assert Current.tenant_id == "acme"

    leave(opened[0])
    assert Current.scope == "unset"


def test_what_only_a_left_scope_said_is_gone_from_the_scopes_inside_it() -> None:
    outer, inner = tenant("acme"), Current.set(request_id="r-1")
    outer.__enter__()
    inner.__enter__()
    assert (Current.tenant_id, Current.request_id) == ("acme", "r-1")

    leave(outer)
    assert (Current.tenant_id, Current.request_id) == (None, "r-1")
    assert Current.capture() == Snapshot(attributes={"request_id": "r-1"})

    leave(inner)
    assert Current.request_id is None


def test_the_same_tenant_set_again_inside_stays_when_the_outer_scope_is_left() -> None:
    outer, inner = tenant("acme"), Current.set(tenant_id="acme")
    outer.__enter__()
    inner.__enter__()

    leave(outer)
    assert Current.tenant_id == "acme"

    leave(inner)
    assert Current.scope == "unset"


def test_a_system_scope_left_out_of_order_does_not_come_back() -> None:
    outer, inner = Current.system("cleanup"), tenant("acme")
    outer.__enter__()
    inner.__enter__()
    leave(outer)
    leave(inner)

    assert Current.scope == "unset"


@pytest.mark.parity("1c.09")
def test_a_restored_scope_stays_whole_when_the_one_around_it_is_left() -> None:
    outer, inner = Current.set(tenant_id="acme", request_id="r-1"), Current.restored(Snapshot(tenant_id="globex"))
    outer.__enter__()
    inner.__enter__()

    leave(outer)
    assert (Current.tenant_id, Current.request_id) == ("globex", None)

    leave(inner)
    assert Current.scope == "unset"


def test_a_scope_entered_after_an_exit_out_of_order_goes_back_to_what_was_open() -> None:
    outer, inner = tenant("acme"), tenant("globex")
    outer.__enter__()
    inner.__enter__()
    leave(outer)
    with tenant("initech"):
        leave(inner)
        assert Current.tenant_id == "initech"

    assert Current.scope == "unset"


def test_a_generator_that_is_closed_late_does_not_bring_its_tenant_back() -> None:
    def rows() -> Generator[int, None, None]:
        with tenant("acme"):
            yield 1
            yield 2

    suspended = rows()
    next(suspended)
    with tenant("globex"):
        suspended.close()
        assert Current.tenant_id == "globex"

    assert Current.scope == "unset"


def test_two_interleaved_generators_leave_nothing_behind() -> None:
    def rows(tenant_id: str) -> Iterator[str | None]:
        with tenant(tenant_id):
            yield Current.tenant_id

    seen = list(zip(rows("acme"), rows("globex"), strict=True))

    assert seen == [("acme", "globex")]
    assert Current.scope == "unset"


def test_a_fixture_like_context_manager_closes_in_any_order() -> None:
    @contextmanager
    def fixture(tenant_id: str) -> Iterator[None]:
        with tenant(tenant_id):
            yield

    with ExitStack() as first, ExitStack() as second:
        first.enter_context(fixture("acme"))
        second.enter_context(fixture("globex"))
        first.close()

        assert Current.tenant_id == "globex"
    assert Current.scope == "unset"


# In another Context


def test_a_scope_left_in_another_context_is_void_where_it_was_entered() -> None:
    scope = tenant("acme")
    scope.__enter__()

    Context().run(leave, scope)

    assert Current.scope == "unset"
    assert Current.capture() == Snapshot()


def test_a_void_scope_falls_back_to_the_nearest_that_is_not() -> None:
    with tenant("acme"):
        scope = tenant("globex")
        scope.__enter__()
        copy_context().run(leave, scope)

        assert Current.tenant_id == "acme"
        with Current.set(request_id="r-1"):
            assert (Current.tenant_id, Current.request_id) == ("acme", "r-1")
    assert Current.scope == "unset"


def test_a_void_scope_is_void_in_every_copy_of_its_context() -> None:
    scope = tenant("acme")
    scope.__enter__()
    copy = copy_context()
    Context().run(leave, scope)

    assert copy.run(lambda: Current.scope) == "unset"


def test_a_scope_that_becomes_void_under_an_open_one_is_gone_from_it() -> None:
    below = tenant("acme")
    below.__enter__()
    with Current.set(request_id="r-1"):
        Context().run(leave, below)
        assert (Current.tenant_id, Current.request_id) == (None, "r-1")

    assert Current.scope == "unset"


def test_a_scope_left_in_the_copy_that_reads_it_is_not_in_force_there_either() -> None:
    scope = tenant("acme")
    scope.__enter__()

    def finish() -> str:
        leave(scope)
        return Current.scope

    assert copy_context().run(finish) == "unset"
    assert Current.scope == "unset"


async def test_an_async_generator_closed_by_another_task_does_not_leak_its_tenant() -> None:
    async def rows() -> AsyncGenerator[int, None]:
        with tenant("acme"):
            yield 1
            yield 2

    suspended = rows()
    await anext(suspended)
    await asyncio.create_task(suspended.aclose())

    assert Current.scope == "unset"
    with tenant("globex"):
        assert Current.tenant_id == "globex"
    assert Current.scope == "unset"


async def test_an_async_generator_that_nobody_closes_does_not_leak_its_tenant() -> None:
    async def rows() -> AsyncIterator[int]:
        with tenant("acme"):
            yield 1

    async def abandon() -> None:
        await anext(rows())

    await asyncio.create_task(abandon())
    gc.collect()
    await asyncio.sleep(0)

    assert Current.scope == "unset"


# Tasks and threads


async def test_tasks_do_not_see_each_others_tenants() -> None:
    async def work(tenant_id: str) -> list[str | None]:
        with tenant(tenant_id):
            seen = []
            for _ in range(5):
                await asyncio.sleep(0)
                seen.append(Current.tenant_id)
            return seen

    seen = await asyncio.gather(*(work(f"t{number}") for number in range(20)))

    assert seen == [[f"t{number}"] * 5 for number in range(20)]
    assert Current.scope == "unset"


async def test_a_task_that_outlives_its_scope_keeps_its_tenant() -> None:
    go_on = asyncio.Event()

    async def late() -> str | None:
        await go_on.wait()
        return Current.tenant_id

    with tenant("acme"):
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    with tenant("globex"):
        go_on.set()
        seen = await task

    assert seen == "acme"


async def test_a_task_that_outlives_its_scope_keeps_its_tenant_also_when_it_was_left_out_of_order() -> None:
    outer, inner = tenant("acme"), tenant("globex")
    outer.__enter__()
    copy = copy_context()
    inner.__enter__()
    leave(outer)
    leave(inner)

    assert copy.run(lambda: Current.tenant_id) == "acme"


async def test_a_task_leaves_its_own_scope_to_what_it_inherited() -> None:
    go_on = asyncio.Event()

    async def late() -> list[str | None]:
        with tenant("globex"):
            await go_on.wait()
            inside = Current.tenant_id
        return [inside, Current.tenant_id]

    with tenant("acme"):
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    go_on.set()

    assert await task == ["globex", "acme"]


async def test_tasks_that_start_one_another_for_ever_do_not_pile_up_scopes() -> None:
    depths = []

    async def tick(left: int) -> None:
        with Current.set(request_id=str(left)):
            assert (Current.tenant_id, Current.request_id) == ("acme", str(left))
            depths.append(len(scopes.in_force().scopes))
            following = asyncio.create_task(tick(left - 1)) if left else None
        if following is not None:
            await following

    with tenant("acme"):
        await tick(50)

    assert max(depths) <= 5


def test_a_scope_that_is_open_still_counts_under_scopes_that_were_left() -> None:
    outer = tenant("acme")
    outer.__enter__()
    context = copy_context()
    for number in range(6):
        with ExitStack() as stack:
            context.run(stack.enter_context, Current.set(request_id=str(number)))
            following = context.copy()
            context.run(stack.close)
        context = following
    context.run(Current.set(request_id="last").__enter__)
    assert context.run(lambda: (Current.tenant_id, Current.request_id)) == ("acme", "last")

    Context().run(leave, outer)
    assert context.run(lambda: (Current.tenant_id, Current.request_id)) == (None, "last")


async def test_a_cancelled_task_leaves_its_scope() -> None:
    seen = []

    async def work() -> None:
        try:
            with tenant("acme"):
                await asyncio.sleep(60)
        finally:
            seen.append(Current.scope)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert seen == ["unset"]


async def test_to_thread_takes_the_tenant_along_and_keeps_nothing() -> None:
    with tenant("acme"):
        seen = await asyncio.to_thread(lambda: Current.tenant_id)

    assert seen == "acme"
    assert await asyncio.to_thread(lambda: Current.scope) == "unset"


@pytest.mark.parity("1c.09")
def test_threads_of_a_pool_see_only_what_they_set_themselves() -> None:
    barrier = Barrier(4)

    def work(number: int) -> tuple[str, str | None, str]:
        before = Current.scope
        with tenant(f"t{number}"):
            barrier.wait(timeout=10)
            inside = Current.tenant_id
        return before, inside, Current.scope

    with tenant("acme"), ThreadPoolExecutor(4) as pool:
        seen = [list(pool.map(work, range(4))) for _ in range(3)]

    assert seen == [[("unset", f"t{number}", "unset") for number in range(4)]] * 3


def test_a_scope_that_was_left_is_freed_without_the_collector() -> None:
    class Value: ...

    gc.disable()
    try:
        value = Value()
        freed = weakref.ref(value)
        with scopes.Scope(values={"request_id": value}):
            del value
        assert freed() is None
    finally:
        gc.enable()


# Any order, any Context


Said = tuple[str | None, str | None, str | None, bool]  # tenant, system reason, request id, whole


class World:
    """Contexts with scopes that are entered and left in any order, and beside them what ought to be in force."""

    KINDS: tuple[Callable[[str], tuple[Any, Said]], ...] = (
        lambda text: (Current.set(tenant_id=text), (text, None, None, False)),
        lambda text: (Current.set(tenant_id=text, request_id=text), (text, None, text, False)),
        lambda text: (Current.set(request_id=text), (None, None, text, False)),
        lambda text: (Current.switch("why", tenant_id=text), (text, None, None, False)),
        lambda text: (Current.system(text), (None, text, None, False)),
        lambda text: (Current.restored(Snapshot(tenant_id=text)), (text, None, None, True)),
        lambda text: (
            Current.restored(Snapshot(system=text, attributes={"request_id": text})),
            (None, text, text, True),
        ),
        lambda text: (current.cleared(), (None, None, None, True)),
    )

    def __init__(self) -> None:
        self.contexts: list[tuple[Context, list[tuple[Any, Said]]]] = [(Context(), [])]
        self.open: list[tuple[Any, int]] = []

    def enter(self, where: int, kind: int, text: str) -> None:
        context, stack = self.contexts[where % len(self.contexts)]
        scope, said = self.KINDS[kind % len(self.KINDS)](text)
        around = self.expected(stack)[0]
        if kind % len(self.KINDS) < 2 and around not in (None, text):
            with pytest.raises(CrossTenantSwitch):
                context.run(scope.__enter__)
        else:
            context.run(scope.__enter__)
            stack.append((scope, said))
            self.open.append((scope, where % len(self.contexts)))

    def leave(self, which: int) -> None:
        if self.open:
            scope, where = self.open.pop(which % len(self.open))
            context, stack = self.contexts[where]
            context.run(leave, scope)
            stack[:] = [entry for entry in stack if entry[0] is not scope]

    def leave_elsewhere(self, which: int, where: int) -> None:
        if self.open and len(self.contexts) > 1:
            scope, entered = self.open.pop(which % len(self.open))
            elsewhere = (entered + 1 + where % (len(self.contexts) - 1)) % len(self.contexts)
            self.contexts[elsewhere][0].run(leave, scope)
            for _, stack in self.contexts:
                stack[:] = [entry for entry in stack if entry[0] is not scope]

    def copy(self, where: int) -> None:
        if len(self.contexts) < 4:
            context, stack = self.contexts[where % len(self.contexts)]
            self.contexts.append((context.copy(), list(stack)))

    @staticmethod
    def expected(stack: list[tuple[Any, Said]]) -> tuple[str | None, str | None, str | None]:
        tenant_id = system = request_id = None
        for _, (its_tenant, its_system, its_request, whole) in stack:
            if whole:
                tenant_id = system = request_id = None
            if its_tenant or its_system:
                tenant_id, system = its_tenant, its_system
            request_id = its_request or request_id
        return tenant_id, system, request_id

    def check(self) -> None:
        for context, stack in self.contexts:
            assert context.run(self.read) == self.expected(stack)

    @staticmethod
    def read() -> tuple[str | None, str | None, str | None]:
        snapshot = Current.capture()
        assert (snapshot.tenant_id, snapshot.scope) == (Current.tenant_id, Current.scope)
        assert snapshot.attributes.get("request_id") == Current.request_id
        return Current.tenant_id, snapshot.system, Current.request_id


small = st.integers(0, 7)
steps = st.one_of(
    st.tuples(st.just("enter"), small, small, st.sampled_from(["acme", "globex", "initech"])),
    st.tuples(st.just("leave"), small),
    st.tuples(st.just("leave_elsewhere"), small, small),
    st.tuples(st.just("copy"), small),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=30))
def test_what_is_read_is_what_the_open_scopes_say_in_whatever_order_and_context_they_are_left(
    program: list[tuple[Any, ...]],
) -> None:
    world = World()
    for step, *args in program:
        getattr(world, step)(*args)
        world.check()
    while world.open:
        world.leave(0)

    world.check()
    assert world.read() == (None, None, None)


@given(st.lists(st.tuples(small, st.sampled_from(["acme", "globex"])), min_size=3, max_size=12))
def test_what_is_inherited_through_many_generations_of_tasks_stays_as_it_was(
    generations: list[tuple[int, str]],
) -> None:
    context, said = Context(), []
    bottom = Current.set(request_id="bottom")
    context.run(bottom.__enter__)
    for kind, text in generations:
        scope, says = World.KINDS[2 + kind % 6](text)
        context.run(scope.__enter__)
        said.append((scope, says))
        following = context.copy()
        context.run(leave, scope)
        context = following

    Context().run(leave, bottom)
    assert context.run(World.read) == World.expected(said)
