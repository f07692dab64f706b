"""Which models jobs may name: from the settings, else from the llm-worker's providers file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from penstock_contracts.requests import TaskKind
from penstock_kit.settings import BadSettings
from penstock_kit.tasks import TaskCatalog

__all__ = ["known_models", "model_owners"]

_OURS = "penstock"


def known_models(
    configured: list[str] | None, *, providers_file: Path | None
) -> frozenset[str] | None:
    """The names, or None where nothing lists them: then the worker decides.

    Raises:
        BadSettings: the providers file cannot be read or has no `models`.
    """
    owners = _owners(configured, providers_file)
    return None if owners is None else frozenset(owners)


def model_owners(
    configured: list[str] | None, *, providers_file: Path | None, tasks: TaskCatalog
) -> dict[str, str] | None:
    """Who serves each model that a chat may name; None as in `known_models`.

    Raises:
        BadSettings: as `known_models`.
    """
    owners = _owners(configured, providers_file)
    if owners is None:
        return None
    chat = tasks.get(TaskKind.CHAT.value)
    own = chat.models if chat is not None else []
    return {**dict.fromkeys(own, _OURS), **owners}


def _owners(configured: list[str] | None, providers_file: Path | None) -> dict[str, str] | None:
    if configured is not None:
        return dict.fromkeys(configured, _OURS)
    if providers_file is None:
        return None
    try:
        content: Any = yaml.safe_load(providers_file.read_text(encoding="utf-8"))
        return {str(name): _owner(model) for name, model in content["models"].items()}
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        message = (
            f"PENSTOCK_PROVIDERS_FILE {str(providers_file)!r} cannot be used "
            f"({type(error).__name__}); it needs a mapping `models` of model names, "
            "as the llm-worker reads it"
        )
        raise BadSettings(message) from error


def _owner(model: Any) -> str:
    return str(model["provider"]) if isinstance(model, dict) and "provider" in model else _OURS
