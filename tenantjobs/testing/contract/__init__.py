"""The kit that every adapter passes: what a queue has to do, in cases that run real worker processes.

    from tenantjobs.testing import AdapterContract

    class TestFolderQueue(AdapterContract):
        adapter = "folder"

        def settings(self):
            return {"folder": {"path": str(self.folder / "queue")}}

pytest collects the cases; those of a capability that the adapter does not declare turn into one that sees it refused.
"""

from __future__ import annotations

from tenantjobs.testing.contract.cases import AdapterContract

__all__ = ["AdapterContract"]
