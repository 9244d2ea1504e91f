"""Mistakes that both checkers must catch, on exactly the marked lines. Checked, never run."""

from __future__ import annotations

from tenantjobs import Job, job, later


@job(queue="mailers")
def send_welcome(user_id: int) -> str:
    return str(user_id)


class Materialize(Job):
    def perform(self, account: str, *, force: bool = False) -> int:
        return len(account)


class Report:
    @later()
    def export(self, path: str) -> None: ...

    export_later = later(export)


report = Report()

send_welcome("7")  # error
send_welcome.perform_later("7")  # error
send_welcome.perform_later()  # error
send_welcome.perform_later(7, 8)  # error
send_welcome.set(wiat=3).perform_later(7)  # error
send_welcome.set(wait=3).perform_later("7")  # error
Materialize.perform_later(7)  # error
Materialize.perform_later("acme", fource=True)  # error
Materialize.call()  # error
Materialize.set(queue=3)  # error
report.export_later(3)  # error
report.export_later()  # error
report.export_later.set(wait=60)(3)  # error
Report.export_later.all([3], "/tmp/x")  # error
Report.export_later.set(queue="low").all([3], "/tmp/x")  # error
Report.export_later.set(quque="low")  # error


class Sweeper:
    @later()
    @classmethod
    def sweep(cls, limit: int) -> None: ...

    sweep_later = later(sweep)


Sweeper.sweep_later("1")  # error
Sweeper.sweep_later.set(wait=3)()  # error
job(quque="low")  # error
later(after_creat=True)  # error
