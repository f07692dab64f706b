"""Fixtures that every tier may use."""

from __future__ import annotations

from tests.support.broker import kafka_bootstrap
from tests.support.kafka_ports import kafka_ports
from tests.support.redis_server import redis_url

__all__ = ["kafka_bootstrap", "kafka_ports", "redis_url"]
