"""What a worker loads: it is there a hundred times on a server, and each megabyte with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORK = """
import sys
from tenantjobs import Current, adapter, configure, job
from tenantjobs.adapter import WorkOptions

@job(name="worked")
def work(number: int) -> None:
    print(number)

configure(adapter="db", db={"url": sys.argv[1]})
with Current.set(tenant_id="acme"):
    work.perform_later(7)
adapter.configured().work(WorkOptions(queues=("*",), drain=True))
print(*sys.modules)
"""


@pytest.mark.usefixtures("database")
def test_a_worker_without_models_loads_neither_the_orm_nor_yaml_nor_what_other_databases_need(url: str) -> None:
    worked = subprocess.run([sys.executable, "-c", WORK, url], capture_output=True, text=True, check=True)

    performed, loaded = worked.stdout.splitlines()
    dialects = {f"sqlalchemy.dialects.{name}" for name in ("mysql", "postgresql", "sqlite")}
    unwanted = {
        "sqlalchemy.orm",
        "sqlalchemy.ext",
        "yaml",
        "tenantjobs.recurring",
        "tenantjobs.schedules",
        "tenantjobs.testing",
    }
    assert performed == "7"
    assert not unwanted & {*loaded.split()}
    assert len(dialects & {*loaded.split()}) == 1
