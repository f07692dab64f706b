"""Metrics of llm-worker. Labels are bounded: aliases by configuration, codes by the code.

GenAI semantic conventions are in development and rename their metrics; ours stay our own, and the
README maps them onto the conventions.
"""

from __future__ import annotations

import time

from penstock_contracts.parts import Usage
from penstock_kit.telemetry.metrics import LATENCY_BUCKETS_S, LONG_BUCKETS_S, Metrics

__all__ = ["LlmMetrics", "ObservedCall"]


class LlmMetrics:
    """Every metric: name, unit, labels."""

    def __init__(self, metrics: Metrics) -> None:
        self.calls = metrics.counter(
            "llm_calls_total", "Provider calls by how they ended.", "model", "provider", "outcome"
        )
        self.call_seconds = metrics.histogram(
            "llm_call_seconds",
            "Provider call, request to end.",
            "model",
            "provider",
            buckets=LONG_BUCKETS_S,
        )
        self.first_piece_seconds = metrics.histogram(
            "llm_first_piece_seconds",
            "Provider call, request to first output.",
            "model",
            "provider",
            buckets=LATENCY_BUCKETS_S,
        )
        self.in_flight = metrics.gauge("llm_calls_in_flight", "Provider calls running.", "provider")
        self.tokens = metrics.counter(
            "llm_tokens_total", "Tokens used, by direction.", "model", "provider", "direction"
        )
        self.retries = metrics.counter(
            "llm_retries_total", "Attempts that follow a failed one.", "reason", "code"
        )
        self.jobs = metrics.counter("llm_jobs_total", "Jobs by how they ended.", "task", "status")

    def call(self, model: str, provider: str) -> ObservedCall:
        """Observe one call."""
        return ObservedCall(self, model, provider)

    def retried(self, reason: str, code: str) -> None:
        """Another attempt follows."""
        self.retries.labels(reason, code).inc()


class ObservedCall:
    """Measures one call; `outcome` is set by whoever knows it, before `close`."""

    def __init__(self, metrics: LlmMetrics, model: str, provider: str) -> None:
        self._metrics = metrics
        self._labels = (model, provider)
        self._begun: float | None = None
        self._has_piece = False
        self.outcome = "aborted"

    @property
    def was_sent(self) -> bool:
        """Whether the request has left."""
        return self._begun is not None

    def sent(self) -> None:
        """The request leaves now."""
        self._begun = time.perf_counter()
        self._metrics.in_flight.labels(self._labels[1]).inc()

    def arrived(self) -> None:
        """Output arrived."""
        if not self._has_piece and self._begun is not None:
            self._has_piece = True
            took = time.perf_counter() - self._begun
            self._metrics.first_piece_seconds.labels(*self._labels).observe(took)

    def usage(self, usage: Usage) -> None:
        """Book tokens."""
        for direction, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count:
                self._metrics.tokens.labels(*self._labels, direction).inc(count)

    def close(self) -> None:
        """The call is over."""
        if self._begun is None:
            return
        self._metrics.in_flight.labels(self._labels[1]).dec()
        took = time.perf_counter() - self._begun
        self._metrics.call_seconds.labels(*self._labels).observe(took)
        self._metrics.calls.labels(*self._labels, self.outcome).inc()
