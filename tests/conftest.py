"""Fixtures that every tier may use."""

from __future__ import annotations

from tests.support.broker import kafka_bootstrap
from tests.support.redis_server import redis_url

__all__ = ["kafka_bootstrap", "redis_url"]
