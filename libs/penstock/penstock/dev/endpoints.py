"""How to reach a running stack: the content of `dev.json`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.dev.options import StackOptions
from penstock.dev.paths import StackPaths, write_private

__all__ = ["DevJson", "read_dev_json"]


class DevJson(BaseModel):
    """Addresses and keys of the stack. The file is readable by its owner only."""

    model_config = ConfigDict(extra="ignore")

    gateway: str
    notifier: str
    kafka: str
    redis: str
    model_server: str | None
    api_key: str
    user_key: str
    admin_key: str
    other_api_key: str
    tenant: str
    other_tenant: str
    id_secret: str
    blobs: str
    admin: dict[str, str]
    """Admin address (health, metrics) by `<service>-<n>`."""
    options: StackOptions
    ready_in_s: float

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_private(path, self.model_dump_json(indent=1) + "\n")


def read_dev_json(paths: StackPaths) -> DevJson | None:
    """The file's content; None if there is no stack, or it is of another version."""
    try:
        return DevJson.model_validate_json(paths.dev_json.read_bytes())
    except (OSError, ValidationError):
        return None
