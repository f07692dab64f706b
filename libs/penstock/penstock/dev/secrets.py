"""The secrets of a development stack: made once, kept readable by their owner only."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

from penstock_contracts.credentials import ApiKey, Scope
from penstock_kit.auth.api_keys import make_api_key
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.dev.errors import DevError
from penstock.dev.paths import write_private

__all__ = ["DEV_TENANT", "OTHER_TENANT", "DevKey", "DevSecrets", "load_secrets"]

DEV_TENANT = "dev"
OTHER_TENANT = "other"
_KEYS = {
    "api_key": (DEV_TENANT, "dev", Scope.TENANT),
    "user_key": (DEV_TENANT, "visitor", Scope.USER),
    "admin_key": (DEV_TENANT, "admin", Scope.ADMIN),
    "other_api_key": (OTHER_TENANT, "other", Scope.TENANT),
}


class DevKey(BaseModel):
    """An API key with its secret, and the record that makes it known."""

    token: str
    record: ApiKey


class DevSecrets(BaseModel):
    """All secrets of one data folder."""

    model_config = ConfigDict(extra="forbid")

    id_secret: str
    keys: dict[str, DevKey]


def load_secrets(path: Path, *, now: datetime) -> DevSecrets:
    """The secrets in the file; made and written if there is none.

    Raises:
        DevError: the file is there but cannot be used.
    """
    if path.exists():
        try:
            return DevSecrets.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DevError(
                f"{path} cannot be read: {type(error).__name__}",
                hint="restore it, or remove the whole data folder: jobs and keys belong together",
            ) from error
    made = DevSecrets(
        id_secret=secrets.token_hex(32),
        keys={name: _make(name, now) for name in _KEYS},
    )
    write_private(path, made.model_dump_json(indent=1))
    return made


def _make(name: str, now: datetime) -> DevKey:
    tenant, user, scope = _KEYS[name]
    key = make_api_key(tenant=tenant, user=user, scope=scope, now=now, name=f"development: {name}")
    return DevKey(token=key.token, record=key.record)
