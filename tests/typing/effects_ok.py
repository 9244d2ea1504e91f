"""What keeps an effect from happening twice, with the exact types that both checkers must see. Checked, never run."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tenantjobs import once
from tenantjobs_sqlalchemy import insert_once, locked


class Order:
    paid = False


def sync(session: Session, order: Order) -> None:
    with once("welcome:7", ttl=timedelta(days=1), on_running="wait") as first:
        assert_type(first, bool)
    with locked(order) as fresh:
        assert_type(fresh, Order)
    assert_type(insert_once(session, order), bool)


async def in_a_loop(session: AsyncSession, order: Order) -> None:
    async with once("welcome:7", on_running="retry") as first:
        assert_type(first, bool)
    async with locked(order) as fresh:
        assert_type(fresh, Order)
    assert_type(insert_once(session, order), Awaitable[bool])
    assert_type(await insert_once(session, order), bool)
