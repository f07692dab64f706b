"""How a stack is wanted: from the command line to the supervisor, kept in `dev.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.dev.errors import DevError

__all__ = ["SERVICES", "BadOptions", "StackOptions", "parse_replicas"]

SERVICES = ("recorder", "llm-worker", "embedder", "notifier", "gateway")
"""The services, in the order in which `penstock status` lists them."""
_MOST_REPLICAS = 16
"""More than that on one machine is a typing error."""


class BadOptions(DevError):
    """The stack cannot be had as it was asked for."""


class StackOptions(BaseModel):
    """One stack.

    Attributes:
        root: the folder of the stack, absolute.
        providers: providers file of the llm-worker; None: the local model server is used.
        tasks: tasks.yaml; None: the built-in tasks.
        qdrant: URL of a Qdrant server; None: the embedder's local mode.
        ephemeral: nothing but logs outlives the run.
        verify_producers: refuse unsigned events of direct producers, as production does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    replicas: dict[str, int] = Field(default_factory=dict)
    providers: Path | None = None
    tasks: Path | None = None
    qdrant: str | None = None
    ephemeral: bool = False
    verify_producers: bool = False
    partitions: int = Field(default=8, ge=1, le=64)

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if self.replicas.get("embedder", 1) > 1 and self.qdrant is None:
            raise ValueError(
                "embedder takes one replica only, because its local vector store belongs to one "
                "process; for more, start a Qdrant server and name it with --qdrant URL"
            )
        for option, path in (("--providers", self.providers), ("--tasks", self.tasks)):
            if path is not None and not path.is_file():
                raise ValueError(f"{option} {str(path)!r} is no file; check the path")
        return self

    def count(self, service: str) -> int:
        """How many replicas of the service."""
        return self.replicas.get(service, 1)


def parse_replicas(text: str) -> dict[str, int]:
    """`llm-worker=3,gateway=2` as numbers by service.

    Raises:
        BadOptions: an unknown service, no number, or a number out of range.
    """
    replicas: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, number = part.partition("=")
        if name not in SERVICES:
            raise BadOptions(
                f"--replicas: there is no service {name!r}", hint=f"use {', '.join(SERVICES)}"
            )
        if not (number.isascii() and number.isdigit() and int(number) <= _MOST_REPLICAS):
            raise BadOptions(
                f"--replicas: {part!r} has no number from 0 to {_MOST_REPLICAS}",
                hint="write for example llm-worker=3,gateway=2",
            )
        replicas[name] = int(number)
    return replicas
