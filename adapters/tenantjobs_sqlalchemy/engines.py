"""A database for each tenant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from tenantjobs_sqlalchemy.places import PlacedSession

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


class TenantEngines:
    """An engine for each tenant, which ``make`` makes of the tenant's id; ``limit`` of them are kept.

    Give the ``session_class`` to a sessionmaker, or as ``sync_session_class`` to an async one::

        engines = TenantEngines(lambda tenant_id: create_engine(url_of(tenant_id)), limit=50)
        Session = sessionmaker(class_=engines.session_class)

    An engine beyond the limit that was not used for longest is disposed of. One with connections in use is not: there
    may be more than ``limit`` engines while so many are at work at once.
    """

    def __init__(self, make: Callable[[str], Engine | AsyncEngine], *, limit: int = 50) -> None:
        if limit < 1:
            raise ValueError(f"TenantEngines keeps at least one engine, not {limit}")
        self._make = make
        self._limit = limit
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = Lock()
        engines = self

        class EngineSession(PlacedSession):
            def get_bind(self, *_args: Any, bind: Any = None, **_kwargs: Any) -> Any:
                tenant_id = self.require_place()
                return engines.engine_of(tenant_id) if bind is None else bind

        self.session_class: type[PlacedSession] = EngineSession

    def __len__(self) -> int:
        return len(self._engines)

    def engine_of(self, tenant_id: str) -> Engine:
        """The engine of this tenant, made if there is none."""
        with self._lock:
            engine = self._engines.get(tenant_id)
            if engine is None:
                made = self._make(tenant_id)
                engine = self._engines[tenant_id] = made if isinstance(made, Engine) else made.sync_engine
            self._engines.move_to_end(tenant_id)
            superfluous = self._let_go(tenant_id)
        for each in superfluous:
            each.dispose()
        return engine

    def dispose(self) -> None:
        """Close what no session uses. Engines are made again when they are wanted."""
        with self._lock:
            engines = list(self._engines.values())
            self._engines.clear()
        for engine in engines:
            engine.dispose()

    def _let_go(self, wanted: str) -> list[Engine]:
        idle = [tenant_id for tenant_id, engine in self._engines.items() if tenant_id != wanted and not _in_use(engine)]
        return [self._engines.pop(tenant_id) for tenant_id in idle[: max(len(self._engines) - self._limit, 0)]]


def _in_use(engine: Engine) -> bool:
    checked_out = getattr(engine.pool, "checkedout", None)  # a pool that keeps no connections does not count them
    return checked_out is not None and checked_out() > 0
