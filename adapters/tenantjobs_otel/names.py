"""Names of OpenTelemetry's conventions for messaging, and of our own attributes.

The conventions are in development, and the package that has them keeps these among what may change; so they are here.
"""

from __future__ import annotations

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
ERROR_TYPE = "error.type"

JOB = "tenantjobs.job.name"
TENANT = "tenantjobs.tenant.id"
ATTEMPT = "tenantjobs.attempt"
WAIT = "tenantjobs.queue.wait_ms"
OUTCOME = "tenantjobs.outcome"
NOTE = "tenantjobs.note"

OTHER = "other"  # any tenant that is not named

PROCESS_DURATION = "messaging.process.duration"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"
QUEUE_WAIT = "tenantjobs.queue.wait"
PERFORM_DURATION = "tenantjobs.perform.duration"
QUARANTINED = "tenantjobs.quarantined"
