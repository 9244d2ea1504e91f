"""A producer of its own that enqueues in a transaction: ``python -m ... commit|rollback QUEUE``."""

from __future__ import annotations

import sys
from importlib import import_module

from tenantjobs import runtime
from tenantjobs.current import Current


def main(ending: str, queue: str) -> None:
    """Enqueue a job in a transaction that ends as it is said. Nothing here is imported that is not installed."""
    runtime.load_app()
    jobs = import_module("tenantjobs.testing.contract.jobs")
    effects = import_module("tenantjobs.testing.contract.effects")
    sqlalchemy, orm = import_module("sqlalchemy"), import_module("sqlalchemy.orm")
    sessions = orm.sessionmaker(sqlalchemy.create_engine("sqlite://"))
    import_module("tenantjobs_sqlalchemy").install(sessions)
    with Current.set(tenant_id="acme"), sessions() as session:
        session.execute(sqlalchemy.text("CREATE TABLE things (id INTEGER)"))
        session.execute(sqlalchemy.text("INSERT INTO things VALUES (1)"))
        handle = jobs.note.set(queue=queue).perform_later(ending)
        assert handle.enqueued is None, "the job has left before the commit"
        assert not effects.recorded(effects.folder()), "the job ran before the commit"
        getattr(session, ending)()
        assert handle.enqueued is (ending == "commit")


if __name__ == "__main__":
    main(*sys.argv[1:])
