"""Every metric of the embedder: name, type, unit, labels. All labels are closed sets."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics as MetricsMaker

__all__ = ["Metrics"]


class Metrics:
    """The embedder's own metrics; the lanes and the process have theirs."""

    def __init__(self, make: MetricsMaker) -> None:
        self.tokens = make.counter(
            "embedder_tokens_total", "Tokens that went through the model, without padding."
        )
        self.padding_tokens = make.counter(
            "embedder_padding_tokens_total", "Padding that went through the model: waste."
        )
        self.batch_texts = make.histogram(
            "embedder_batch_texts",
            "Texts per call of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.batch_seconds = make.histogram(
            "embedder_batch_seconds",
            "Duration of a call of the model; urgency is query or bulk.",
            "urgency",
        )
        self.failed_batches = make.counter(
            "embedder_failed_batches_total",
            "Failed calls of the model; outcome is away (jobs retry), split (halved) or text.",
            "outcome",
        )
        self.waiting_texts = make.gauge(
            "embedder_waiting_texts", "Texts that wait; urgency is query or bulk.", "urgency"
        )
        self.stored_passages = make.counter(
            "embedder_stored_passages_total", "Passages written to the vector store."
        )
        self.jobs = make.counter(
            "embedder_jobs_total",
            "Jobs that ended here; kind is embed, ingest or search, status a terminal one.",
            "kind",
            "status",
        )
