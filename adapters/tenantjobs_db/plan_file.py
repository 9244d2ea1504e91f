"""``config/queue.yml``: which processes ``tenantjobs work`` runs, in each environment."""

from __future__ import annotations

from pathlib import Path

from tenantjobs import runtime, yaml_file
from tenantjobs.config.file import displayed
from tenantjobs.config.mistakes import Mistakes
from tenantjobs.config.settings import Origin
from tenantjobs.yaml_file import Marked
from tenantjobs_db.plan import DispatcherPlan, GatePlan, Plan, WorkerPlan


def read(path: Path) -> Plan:
    """The plan of this environment. ``Misconfigured`` lists all mistakes, each with its line and column."""
    mistakes = Mistakes()
    environment = runtime.settings().environment
    document = yaml_file.read(path, environment, mistakes)
    mistakes.check()
    if document.section is None and document.environments:
        known = ", ".join(document.environments)
        mistakes.add(
            displayed(path),
            f"has no section {environment!r}, which is the environment (TENANTJOBS_ENV): it has {known}",
        )
    plan = _plan(path, document.section or {}, mistakes)
    mistakes.check()
    return plan


def _plan(path: Path, section: dict[str, Marked], mistakes: Mistakes) -> Plan:
    whole = Marked(section, next((value.origin for value in section.values()), Origin(displayed(path))))
    plan = yaml_file.typed(whole, Plan, mistakes, what=runtime.settings().environment)
    gate = runtime.settings().gate
    if not section and gate is not None:
        return Plan(gates=(GatePlan(),), dispatchers=(DispatcherPlan(),))
    if not section:
        return Plan(workers=(WorkerPlan(),), dispatchers=(DispatcherPlan(),))
    if plan is None:
        return Plan()
    if plan.is_empty:
        mistakes.add(displayed(path), "there is no process in it: give it workers or dispatchers")
    if gate is not None and plan.workers:
        mistakes.add(
            section["workers"].origin,
            f'[gate] adapter = "{gate.adapter}": its workers perform the jobs, so that there are none here: write '
            "gates: [{}] instead",
        )
    if gate is None and plan.gates:
        mistakes.add(section["gates"].origin, "there is no [gate] in the configuration: write workers instead")
    return plan
