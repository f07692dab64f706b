"""Vectors as the object that OpenAI clients read."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["embedding_list"]


def embedding_list(
    output: Mapping[str, Any], usage: Mapping[str, Any] | None, *, as_base64: bool
) -> dict[str, Any]:
    """The `list` of embeddings, in the order of the texts."""
    write = _base64 if as_base64 else list
    tokens = (usage or {}).get("input_tokens") or 0
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(output["vectors"])
        ],
        "model": output["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _base64(vector: Sequence[float]) -> str:
    """Little-endian float32, as clients decode it."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b64encode(floats.tobytes()).decode()
