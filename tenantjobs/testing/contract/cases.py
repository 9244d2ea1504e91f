"""The contract as cases, one class for each side of it; ``AdapterContract`` is all of them."""

from __future__ import annotations

from typing import ClassVar

from tenantjobs.testing.contract.carrying import Carrying
from tenantjobs.testing.contract.deciding import Deciding
from tenantjobs.testing.contract.following import Following
from tenantjobs.testing.contract.hooking import Hooking
from tenantjobs.testing.contract.ordering import Ordering
from tenantjobs.testing.contract.resuming import Resuming
from tenantjobs.testing.contract.surviving import Surviving


class AdapterContract(Carrying, Deciding, Following, Hooking, Ordering, Resuming, Surviving):
    """Subclass it as ``Test...`` and say how the adapter is configured; see ``Harness`` for what can be said."""

    __contract__: ClassVar[bool] = True
