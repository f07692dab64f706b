"""Which models callers may name, and how `/v1/models` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import ApiError

__all__ = ["KnownModels"]


class KnownModels:
    """Models by name, each with who serves it.

    Attributes:
        created: Unix time that every model is shown with; providers do not tell their own.
    """

    def __init__(
        self, *, chat: Mapping[str, str] | None, embedding: Mapping[str, str], created: int
    ) -> None:
        """`chat` None: nothing lists them, the worker decides about a name."""
        self._chat = chat
        self._embedding = embedding
        self._created = created

    def require_chat(self, name: str) -> None:
        """Refuse a model that no provider of this deployment has.

        Raises:
            ApiError: model_not_found.
        """
        if self._chat is not None and name not in self._chat:
            raise _unknown(name)

    def require_embedding(self, name: str) -> None:
        """Refuse a model that the embedder does not have.

        Raises:
            ApiError: model_not_found.
        """
        if self._embedding and name not in self._embedding:
            raise _unknown(name)

    def listed(self) -> list[dict[str, Any]]:
        """All of them, as objects of the OpenAI API, by name."""
        owners = {**(self._chat or {}), **self._embedding}
        return [self._shown(name, owners[name]) for name in sorted(owners)]

    def one(self, name: str) -> dict[str, Any]:
        """One of them.

        Raises:
            ApiError: model_not_found.
        """
        owner = (self._chat or {}).get(name) or self._embedding.get(name)
        if owner is None:
            message = f"The model '{name[:128]}' does not exist"
            raise ApiError("model_not_found", message, param="model")
        return self._shown(name, owner)

    def _shown(self, name: str, owner: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner}


def _unknown(name: str) -> ApiError:
    message = (
        f"The model `{name[:128]}` does not exist or you do not have access to it; "
        "GET /v1/models lists those that you may name."
    )
    return ApiError("model_not_found", message)
