"""The broker of the contract: what is stored in Redis begins with the name of the test."""

from __future__ import annotations

import os

from dramatiq import Broker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

url, name = os.environ["CONTRACT_BROKER"], os.environ["CONTRACT_NAME"]
broker: Broker
if url.startswith("redis"):
    # A worker is missed after two seconds, and whoever talks to Redis looks for what it left.
    broker = RedisBroker(url=url, namespace=name, heartbeat_timeout=2000, maintenance_chance=1_000_000)
else:
    broker = RabbitmqBroker(url=url, max_priority=10, confirm_delivery=True)
