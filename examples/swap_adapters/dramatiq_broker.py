"""The broker that the section [dramatiq] names."""

from __future__ import annotations

from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url="amqp://guest:guest@localhost:5672//", confirm_delivery=True)
