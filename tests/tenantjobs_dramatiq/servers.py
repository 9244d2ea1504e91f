"""Real brokers, and what is left on them."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pika
import redis

from tests.services import missing

AMQP = os.environ.get("TENANTJOBS_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/")
REDIS = os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0")
BROKERS = {"RabbitMQ": AMQP, "Redis": REDIS}
PORTS = {"RabbitMQ": 5672, "Redis": 6379}


def require(service: str) -> None:
    """Skip this test, or fail it where services are required, if the server cannot be reached."""
    variable = {"RabbitMQ": "TENANTJOBS_TEST_AMQP", "Redis": "TENANTJOBS_TEST_REDIS"}[service]
    server = urlsplit(BROKERS[service])
    try:
        socket.create_connection((server.hostname or "127.0.0.1", server.port or PORTS[service]), timeout=2).close()
    except OSError as error:
        missing(service, f"start it, or say where it is in {variable} ({error})")


def remove(prefix: str, *queues: str) -> None:
    """The keys in Redis that begin so, and the queues in RabbitMQ, with those that Dramatiq keeps beside each."""
    with redis.Redis.from_url(REDIS) as store:
        for key in store.scan_iter(f"{prefix}*"):
            store.delete(key)
    with pika.BlockingConnection(pika.URLParameters(AMQP)) as connection:
        channel = connection.channel()
        for queue in queues:
            for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
                channel.queue_delete(name)
