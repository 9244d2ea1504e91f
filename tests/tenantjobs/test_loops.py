from __future__ import annotations

import asyncio
import contextvars
import os

from tenantjobs import loops

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def look() -> tuple[str, asyncio.AbstractEventLoop]:
    await asyncio.sleep(0)
    found = variable.get()
    variable.set("changed inside")
    return found, asyncio.get_running_loop()


def test_a_coroutine_runs_in_a_copy_of_the_callers_context() -> None:
    variable.set("callers")

    assert loops.run(look())[0] == "callers"
    assert variable.get() == "callers"


def test_all_coroutines_share_one_loop() -> None:
    assert loops.run(look())[1] is loops.run(look())[1]


async def test_synchronous_code_under_a_running_loop_can_use_it_too() -> None:
    assert loops.run(look())[1] is not asyncio.get_running_loop()


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    loops.run(look())
    child = os.fork()
    if child == 0:
        os._exit(0 if loops.run(look())[0] else 1)

    assert os.waitpid(child, 0)[1] == 0
