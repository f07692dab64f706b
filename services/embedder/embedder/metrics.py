"""Every metric of the embedder: name, type, unit, labels. All labels are closed sets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Metrics"]


class Metrics:
    """The embedder's metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tokens = Counter(
            "penstock_embedder_tokens",
            "Tokens that went through the model, padding not counted.",
            registry=registry,
        )
        self.padding_tokens = Counter(
            "penstock_embedder_padding_tokens",
            "Padding that went through the model; its share of all tokens is waste.",
            registry=registry,
        )
        self.batch_texts = Histogram(
            "penstock_embedder_batch_texts",
            "Texts per call of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "penstock_embedder_batch_seconds",
            "Duration of one call of the model; urgency is query or bulk.",
            ["urgency"],
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        self.failed_batches = Counter(
            "penstock_embedder_failed_batches",
            "Calls of the model that failed; outcome is away (jobs retry), split (halved) or text.",
            ["outcome"],
            registry=registry,
        )
        self.waiting_texts = Gauge(
            "penstock_embedder_waiting_texts",
            "Texts that wait for the model; urgency is query or bulk.",
            ["urgency"],
            registry=registry,
        )
        self.stored_passages = Counter(
            "penstock_embedder_stored_passages",
            "Passages written to the vector store.",
            registry=registry,
        )
        self.store_seconds = Histogram(
            "penstock_embedder_store_seconds",
            "Duration of one call of the vector store; operation is prepare, put, trim or find.",
            ["operation"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.jobs = Counter(
            "penstock_embedder_jobs",
            "Jobs that ended here; kind is embed, ingest or search, status a terminal status.",
            ["kind", "status"],
            registry=registry,
        )
