"""The kit that every adapter passes, as our own adapters run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tenantjobs.testing import AdapterContract
from tests.forked import Forked


class ForkedContract(AdapterContract):
    """The kit on workers that are spared what all of them import. ``docs/write-an-adapter.md`` runs it without that."""

    def launch(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        return Forked(command, folder=self.folder, environment=environment, log=log)
