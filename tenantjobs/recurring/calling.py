"""The job that calls what an entry of the file names in ``call:``, where that is no job itself."""

from __future__ import annotations

from tenantjobs.errors import ConfigurationError
from tenantjobs.jobs import job
from tenantjobs.recurring import entries


@job(name="tenantjobs.recurring.call", tenancy="optional")
def call_entry(key: str) -> None:
    """Call it, with the arguments of the file that this worker has: no message says what is imported."""
    entry = entries.of_file().get(key)
    if entry is None or entry.target.definition is not None:
        raise ConfigurationError(
            f"recurring {key}: the file of this worker has no such entry with a plain call: any more"
        )
    entry.target.source(*entry.target.args, **entry.target.kwargs)
