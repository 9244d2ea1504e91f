from __future__ import annotations

from tenantjobs.testing import AdapterContract


class TestInline(AdapterContract):
    adapter = "inline"
    in_process = True
