"""The settings of each transaction, kept at what ``Current`` says.

They are set for the transaction only, by its first statement: nothing is left on the connection for whoever gets it
next, not even behind a pooler that shares connections between transactions.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event, text

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.rls.policies import SYSTEM, TENANT


class Said(NamedTuple):
    """What a transaction has been told. Empty is nothing."""

    tenant_id: str = ""
    reason: str = ""


NOTHING = Said()


class Told:
    """What is known of one connection's transaction."""

    __slots__ = ("role", "said")

    def __init__(self, said: Said | None) -> None:
        self.said = said  # None: it cannot be known
        self.role: str | None = None  # the one that the system's role was taken in place of


class Following:
    """Tells the transactions of one engine."""

    def __init__(self) -> None:
        self.system_role: str | None = None
        self._told: WeakKeyDictionary[Connection, Told] = WeakKeyDictionary()

    def listen(self, engine: Engine) -> None:
        """From here on. At the begin as well as before each statement: a driver's own COPY is not announced."""
        event.listen(engine, "begin", self._begun)
        event.listen(engine, "begin_twophase", self._begun)
        event.listen(engine, "before_cursor_execute", self._executing)

    def ignore(self, engine: Engine) -> None:
        """Not any more."""
        event.remove(engine, "begin", self._begun)
        event.remove(engine, "begin_twophase", self._begun)
        event.remove(engine, "before_cursor_execute", self._executing)

    def _begun(self, connection: Connection, *_xid: object) -> None:
        self._told[connection] = told = Told(NOTHING)
        self._tell(connection, told)

    def _executing(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        told = self._told.get(connection)
        if told is None:  # its transaction is older than this
            told = self._told[connection] = Told(None)
        if _CONTROLS.match(statement):
            # It may undo what was told since the savepoint, or end the transaction; and a transaction that has failed
            # takes no other statement before it.
            told.said = told.said if statement.startswith(_HARMLESS) else None
        else:
            self._tell(connection, told)

    def _tell(self, connection: Connection, told: Told) -> None:
        reach = in_force().reach
        wanted = Said(reach.tenant_id or "", reach.reason or "")
        if wanted == told.said or _is_autocommit(connection):
            return
        # Before it is executed, since that is announced too.
        told.said = wanted
        try:
            role = self.system_role if wanted.reason else told.role
            if role is None:
                connection.execute(_TELL, wanted._asdict())
            else:
                before = connection.scalar(_TELL_AND_TAKE_ROLE, {**wanted._asdict(), "role": role})
                told.role = told.role or before
        except BaseException:
            told.said = None
            raise


def _is_autocommit(connection: Connection) -> bool:
    """Without a transaction there is nothing to tell: each statement is its own, and sees nothing."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


_TELL = text(f"SELECT set_config('{TENANT}', :tenant_id, true), set_config('{SYSTEM}', :reason, true)")
_TELL_AND_TAKE_ROLE = text(
    f"SELECT current_setting('role'), set_config('role', :role, true), "
    f"set_config('{TENANT}', :tenant_id, true), set_config('{SYSTEM}', :reason, true)"
)
_CONTROLS = re.compile(
    r"\s*(?:/\*.*?\*/\s*)*(?:SAVEPOINT|RELEASE|ROLLBACK|COMMIT|END|ABORT)\b", re.IGNORECASE | re.DOTALL
)
_HARMLESS = ("SAVEPOINT", "RELEASE")
