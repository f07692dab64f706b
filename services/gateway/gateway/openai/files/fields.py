"""The fields of an upload, strictly read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gateway.errors import ApiError

__all__ = [
    "DEFAULT_LIFE",
    "MAX_LIFE_S",
    "MIN_LIFE_S",
    "UploadFields",
    "field_param",
    "upload_fields",
]

DEFAULT_LIFE: Final = timedelta(days=30)
"""As OpenAI has it for batch files."""
MIN_LIFE_S: Final = 3_600
MAX_LIFE_S: Final = 2_592_000
_ANCHOR: Final = "expires_after[anchor]"
_SECONDS: Final = "expires_after[seconds]"
_PURPOSES: Final = ("assistants", "evals", "fine-tune", "user_data", "vision")
"""Of OpenAI's, which we do not have."""


@dataclass(frozen=True, slots=True)
class UploadFields:
    """What an upload says beside its file."""

    life: timedelta = DEFAULT_LIFE


def field_param(name: str) -> str:
    """What error answers call a field of the form: `expires_after[seconds]` as it is in JSON."""
    return {_ANCHOR: "expires_after.anchor", _SECONDS: "expires_after.seconds"}.get(name, name[:64])


def upload_fields(given: Mapping[str, str]) -> UploadFields:
    """The fields of a form.

    Raises:
        ApiError: missing_required_parameter, unknown_parameter, unsupported_value, invalid_value,
            integer_below_min_value, integer_above_max_value.
    """
    for name in given:
        if name not in ("purpose", _ANCHOR, _SECONDS):
            raise ApiError(
                "unknown_parameter", f"Unknown parameter: '{name[:64]}'.", param=name[:64]
            )
    _check_purpose(given.get("purpose"))
    if _ANCHOR not in given and _SECONDS not in given:
        return UploadFields()
    return UploadFields(_life(given))


def _check_purpose(purpose: str | None) -> None:
    if purpose is None:
        message = "Missing required parameter: 'purpose'."
        raise ApiError("missing_required_parameter", message, param="purpose")
    if purpose in _PURPOSES:
        message = (
            f"Unsupported value: purpose '{purpose}' is not supported here: files are kept for "
            "batches alone. Send purpose 'batch'."
        )
        raise ApiError("unsupported_value", message, param="purpose")
    if purpose != "batch":
        message = f"Invalid value: '{purpose[:64]}'. Supported values are: 'batch'."
        raise ApiError("invalid_value", message, param="purpose")


def _life(given: Mapping[str, str]) -> timedelta:
    for name in (_ANCHOR, _SECONDS):
        if name not in given:
            param = field_param(name)
            raise ApiError(
                "missing_required_parameter", f"Missing required parameter: '{param}'.", param=param
            )
    if given[_ANCHOR] != "created_at":
        message = f"Invalid value: '{given[_ANCHOR][:64]}'. Supported values are: 'created_at'."
        raise ApiError("invalid_value", message, param=field_param(_ANCHOR))
    text, param = given[_SECONDS], field_param(_SECONDS)
    if not (text.isascii() and text.isdigit() and len(text) <= 10):  # noqa: PLR2004 - no huge integers
        message = f"Invalid type for '{param}': expected an integer, but got a string instead."
        raise ApiError("invalid_type", message, param=param)
    seconds = int(text)
    if seconds < MIN_LIFE_S:
        message = (
            f"Invalid '{param}': integer below minimum value. Expected a value >= {MIN_LIFE_S}, "
            f"but got {seconds} instead."
        )
        raise ApiError("integer_below_min_value", message, param=param)
    if seconds > MAX_LIFE_S:
        message = (
            f"Invalid '{param}': integer above maximum value. Expected a value <= {MAX_LIFE_S}, "
            f"but got {seconds} instead."
        )
        raise ApiError("integer_above_max_value", message, param=param)
    return timedelta(seconds=seconds)
