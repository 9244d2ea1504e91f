"""The job class that brings carriage into a worker by its name alone."""

from __future__ import annotations

from rq.job import Job

from tenantjobs_rq.installation import cover


class TenantJob(Job):
    """For ``rq worker -j tenantjobs_rq.TenantJob`` and ``RQ_JOB_CLASS``: a worker that names it performs every job in
    the scope that it was enqueued in. A job class of one's own inherits from it.
    """


# Its methods are those of Job, which carry the scope from here on: a worker also meets jobs of the plain class.
cover()
