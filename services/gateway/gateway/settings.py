"""Everything that can be configured about the gateway, read once in `__main__`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from penstock_kit.settings import Group, PlatformSettings, Seconds, require
from penstock_kit.tail.settings import TailSettings
from penstock_kit.webhooks.settings import WebhookSettings
from pydantic import Field, SecretStr, model_validator

__all__ = ["GatewayGroup", "GatewaySettings"]


class GatewayGroup(Group):
    """`PENSTOCK_GATEWAY__*`."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="0 picks a free port and logs it; shared by replicas.",
    )
    origins: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may call the API from a browser, as a JSON list; `*` "
        "allows all. Empty: pages of its own address only.",
    )
    socket_url: str | None = Field(
        default=None,
        description="Public address of the notifier's socket, ws(s)://host:port/v1/socket.",
    )
    models: list[str] | None = Field(
        default=None,
        description="Models that jobs may name, as a JSON list; None: those of the providers file, "
        "or any if there is none.",
    )
    embedding_models: list[str] = Field(
        default=["all-minilm-l6-v2-int8"],
        description="Names of the models that the embedder serves, as a JSON list; for /v1/models "
        "and /v1/embeddings. Empty: any name is passed on, the embedder decides.",
    )
    answer_within: Seconds = Field(
        default=timedelta(minutes=30),
        description="Longest wait for an answer of the OpenAI API; then 504, and the job runs on.",
    )
    drain_patience: Seconds = Field(
        default=timedelta(seconds=8),
        description="How long jobs of waiting callers may still end here once the process is being "
        "stopped; then the callers are sent away.",
    )
    sockets: int = Field(
        default=5000, ge=1, description="WebSockets of `/v1/responses` at once; beyond it: 1013."
    )
    sockets_per_tenant: int = Field(
        default=1000, ge=1, description="WebSockets of one tenant at once; beyond it: 1013."
    )
    socket_streams: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Streams of one socket at once, and responses that wait on all of them.",
    )
    socket_message_bytes: int = Field(
        default=1024 * 1024,
        ge=1024,
        description="Larger messages end the socket (1009); send larger input by `POST`.",
    )
    socket_messages_per_s: float = Field(
        default=20.0, gt=0, description="Messages of a client that a socket bears; twice at once."
    )
    socket_stall: Seconds = Field(
        default=timedelta(seconds=5),
        description="A client that takes nothing for so long is cut off.",
    )
    socket_max_age: Seconds = Field(
        default=timedelta(hours=1), description="Then a socket ends (1001), to be opened again."
    )
    socket_ping: Seconds = Field(
        default=timedelta(seconds=20),
        description="Between pings; a client that does not answer for as long is cut off.",
    )
    socket_origins: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may connect, as a JSON list; `*` allows all.",
    )
    conversation_ttl: Seconds = Field(
        default=timedelta(days=30),
        description="Conversations that were silent for longer are not found; as "
        "PENSTOCK_LLM_WORKER__CONVERSATION_TTL.",
    )
    conversation_patience: Seconds = Field(
        default=timedelta(seconds=20),
        description="How long a change of a conversation waits for its turn; then it is called "
        "back and answered with 409.",
    )
    moderation_rules_file: Path | None = Field(
        default=None,
        description="Rules of `/v1/moderations`; None: those that come along. See docs/openai.md.",
    )
    moderation_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base URL, before `/moderations`, of an OpenAI-compatible upstream that judges "
        "instead of the rules.",
    )
    moderation_api_key: SecretStr | None = Field(
        default=None, description="Bearer key of the moderation upstream."
    )
    moderation_timeout: Seconds = Field(
        default=timedelta(seconds=10), description="Longest wait for the moderation upstream."
    )
    on_disconnect: Literal["cancel", "finish"] = Field(
        default="cancel",
        description="What becomes of a chat, completion or embedding without Idempotency-Key whose "
        "caller hangs up: `cancel` ends it and books what was used, `finish` lets it run.",
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="Larger request bodies are refused (413)."
    )
    max_body_bytes_total: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Bodies held at once; what is beyond is refused unread (503).",
    )
    limits_file: Path | None = Field(
        default=None,
        description="limits.yaml: requests per window and bounds of backlogs; None: the default"
        " bounds alone. See docs/limits.md.",
    )
    gateways: int = Field(
        default=1,
        ge=1,
        description="How many gateways run: without Redis each lets this part of a limit through.",
    )
    max_wait: Seconds = Field(
        default=timedelta(seconds=60),
        description="Longest `Prefer: wait=N`; longer wishes are cut.",
    )
    heartbeat: Seconds = Field(
        default=timedelta(seconds=15),
        description="Pause between comments on a silent event stream.",
    )
    stream_frames: int = Field(
        default=256,
        gt=0,
        description="Events that may wait for a slow reader before it is cut off.",
    )
    stream_bytes: int = Field(
        default=1024 * 1024, gt=0, description="Bytes that may wait for a slow reader."
    )
    stream_stall: Seconds = Field(
        default=timedelta(seconds=30),
        description="A reader that takes nothing for so long, or a body of which nothing comes, is"
        " cut off.",
    )
    idempotency_ttl: Seconds = Field(
        default=timedelta(hours=24), description="How long an Idempotency-Key remembers its body."
    )
    max_file_bytes: int = Field(
        default=200_000_000, ge=1024, description="Larger uploads to /v1/files are refused (413)."
    )
    batch_lines: int = Field(default=50_000, ge=1, description="Requests in one batch.")
    batch_window: int = Field(
        default=512,
        ge=1,
        description="Lines of batches that this process has under way at once. With a batch of"
        " 20,000 lines it grew by 50 to 61 MB with 1024, by 42 MB with 256.",
    )
    batch_window_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="The same in bytes of requests."
    )
    spool_folder: Path | None = Field(
        default=None,
        description="Where results of running batches wait, some hundred MB for each large one;"
        " None: the system's folder for temporary files. Not in memory, please.",
    )
    batches_at_once: int = Field(
        default=64, ge=1, le=4096, description="Batches that this process runs at once."
    )
    tenant_batches_at_once: int = Field(
        default=8, ge=1, description="The same of one tenant; others wait."
    )
    fresh_for: Seconds = Field(
        default=timedelta(minutes=5),
        description="While the table is away, younger jobs are `queued` by their id alone.",
    )
    tail: TailSettings = TailSettings()
    job_ttl: Seconds = Field(
        default=timedelta(days=30),
        description="An issued id that is older and not in the table is not found.",
    )


class GatewaySettings(PlatformSettings):
    """The gateway's settings."""

    gateway: GatewayGroup = GatewayGroup()
    webhooks: WebhookSettings = WebhookSettings()

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        require(
            self.gateway.fresh_for < self.gateway.job_ttl,
            "PENSTOCK_GATEWAY__FRESH_FOR must be below PENSTOCK_GATEWAY__JOB_TTL",
        )
        require(
            self.gateway.drain_patience < self.drain_timeout / 2,
            "PENSTOCK_GATEWAY__DRAIN_PATIENCE must be below half of PENSTOCK_DRAIN_TIMEOUT, else "
            "callers are cut off before they are sent away",
        )
        return self
