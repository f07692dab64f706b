"""How metrics are made: one registry per process, prefix `penstock_`, base units, bounded labels.

Each package declares its metrics in one module `metrics.py` as a class that takes a `Metrics`:

    class LaneMetrics:
        def __init__(self, metrics: Metrics) -> None:
            self.finished = metrics.counter("lanes_finished_total", "Records finished.", "outcome")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

__all__ = ["LATENCY_BUCKETS_S", "LONG_BUCKETS_S", "Metrics", "process_registry"]

PREFIX = "penstock_"

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds; for what takes milliseconds: requests, acknowledgements, first tokens."""

LONG_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Seconds; for what takes as long as a model: attempts, jobs, waiting in a queue."""

C = TypeVar("C", Counter, Gauge, Histogram)


def process_registry(service: str, *, version: str) -> CollectorRegistry:
    """The registry of a process: memory, CPU, files, garbage collector, and which build runs."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Gauge(
        f"{PREFIX}build_info",
        "Constant 1; which build runs.",
        ("service", "version"),
        registry=registry,
    ).labels(service, version).set(1)
    return registry


class Metrics:
    """Makes the metrics of a process; the same name again gives the same metric."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry(auto_describe=True)
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, about: str, *labels: str) -> Counter:
        """A count that only grows; the name ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"counter {name!r} must end in _total")
        return self._once(
            name, Counter, lambda full: Counter(full, about, labels, registry=self.registry)
        )

    def gauge(self, name: str, about: str, *labels: str) -> Gauge:
        """A value that goes up and down; the name ends in its unit."""
        return self._once(
            name, Gauge, lambda full: Gauge(full, about, labels, registry=self.registry)
        )

    def histogram(
        self, name: str, about: str, *labels: str, buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """A distribution; the name ends in its unit (`_seconds`, `_bytes`, `_tokens`)."""
        return self._once(
            name,
            Histogram,
            lambda full: Histogram(full, about, labels, registry=self.registry, buckets=buckets),
        )

    def _once(self, name: str, kind: type[C], make: Callable[[str], C]) -> C:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = make(f"{PREFIX}{name}")
        if not isinstance(found, kind):
            raise ValueError(f"metric {name!r} exists already as a {type(found).__name__}")  # noqa: TRY004 - a wrong name, not a wrong type
        return found
