"""Which models jobs may name: from the settings, else from the llm-worker's providers file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from penstock_kit.settings import BadSettings

__all__ = ["known_models"]


def known_models(
    configured: list[str] | None, *, providers_file: Path | None
) -> frozenset[str] | None:
    """The names, or None where nothing lists them: then the worker decides.

    Raises:
        BadSettings: the providers file cannot be read or has no `models`.
    """
    if configured is not None:
        return frozenset(configured)
    if providers_file is None:
        return None
    try:
        content: Any = yaml.safe_load(providers_file.read_text(encoding="utf-8"))
        return frozenset(str(name) for name in content["models"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        message = (
            f"PENSTOCK_PROVIDERS_FILE {str(providers_file)!r} cannot be used "
            f"({type(error).__name__}); it needs a mapping `models` of model names, "
            "as the llm-worker reads it"
        )
        raise BadSettings(message) from error
