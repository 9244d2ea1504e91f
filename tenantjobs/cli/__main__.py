from __future__ import annotations

from tenantjobs.cli import main

main(prog_name="tenantjobs")
