"""What is left of a tenant when it has been purged, and who can say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tenantjobs import signer

# Of the tenant's encryption keys: the keyring has destroyed them, it has some yet, or arguments are not encrypted.
Keys = Literal["destroyed", "left", "none"]

# What is told while rows are removed: the table, and how many rows of all tables are gone by now.
Tell = Callable[[str, int], object]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of a tenant each table has at a moment, counted after it was closed for good."""

    tenant: str
    at: datetime
    rows: dict[str, int]
    keys: Keys
    removed: dict[str, int] = {}
    sha256: str = ""
    signature: str | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing is left in any table."""
        return not any(self.rows.values())

    def sealed(self) -> Proof:
        """The same with a digest of what it says, and a signature where [signing] has keys."""
        text = _said.encode([self.tenant, self.at, sorted(self.rows.items()), self.keys])
        signing = signer.configured()
        return msgspec.structs.replace(
            self,
            sha256=import_module("hashlib").sha256(text).hexdigest(),
            signature=None if signing is None else signing.sign("purge", [text]),
        )


class Purges(Protocol):
    """Removes what the queue has of a tenant."""

    def rows(self, tenant: object) -> Mapping[str, int]:
        """How many rows there are in each table."""
        ...

    def purge(self, tenant: object, *, while_running: bool = False, tell: Tell | None = None) -> Proof:
        """Close a tenant for good, remove every row of it, and count what is left.

        ``TenantBusy``, and nothing has changed, while jobs of it run; with ``while_running`` their claims are taken
        away, and what they do has no effect on the queue any more. One that was stopped half way is run again.
        """
        ...


@runtime_checkable
class HasPurges(Protocol):
    """A queue whose tenants can be purged."""

    @property
    def purges(self) -> Purges: ...


_said = msgspec.json.Encoder()
