"""Makes clients of Qdrant, and sorts their errors."""

from __future__ import annotations

import sqlite3
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.errors import StoreLocked

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["connect_local", "connect_server", "is_absent", "is_away"]

_META = "meta.json"


def connect_server(
    url: str, *, api_key: str | None, timeout: timedelta, prefer_grpc: bool = True, grpc_port: int
) -> QdrantClient:
    """A client of a server, over gRPC; the server need not be reachable yet."""
    from qdrant_client import QdrantClient  # noqa: PLC0415 - 70 MB that only a started store needs

    with warnings.catch_warnings():
        # An API key over plain HTTP inside a cluster is the operator's choice.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=api_key,
            timeout=max(1, round(timeout.total_seconds())),
            prefer_grpc=prefer_grpc,
            grpc_port=grpc_port,
            check_compatibility=False,  # a REST call, and a warning when the server is not up yet
        )


def connect_local(path: Path) -> QdrantClient:
    """The client's own engine on a folder, exclusively; contents survive a SIGKILL.

    Raises:
        StoreLocked: another process uses the folder, or it cannot be used at all.
    """
    from qdrant_client import QdrantClient  # noqa: PLC0415 - the same

    _mend(path)
    try:
        client = QdrantClient(path=str(path))
    except (RuntimeError, OSError, sqlite3.Error) as error:
        raise StoreLocked(_locked_sentence(path, error)) from error
    return client


def is_away(error: BaseException) -> bool:
    """Whether the server could not be reached, was too slow, or asks us to slow down."""
    code = _grpc_code(error)
    if code is not None:
        return code in {
            "UNAVAILABLE",
            "DEADLINE_EXCEEDED",
            "RESOURCE_EXHAUSTED",
            "ABORTED",
            "INTERNAL",
        }
    return type(error).__name__ in {"ResourceExhaustedResponse", "ResponseHandlingException"}


def is_absent(error: BaseException) -> bool:
    """Whether the collection does not exist."""
    if isinstance(error, ValueError):
        return str(error).startswith("Collection ") and str(error).endswith(" not found")
    return _grpc_code(error) == "NOT_FOUND"


def _grpc_code(error: BaseException) -> str | None:
    code: Any = getattr(error, "code", None)
    return getattr(code(), "name", None) if callable(code) else None


def _mend(path: Path) -> None:
    """Drop an empty meta.json: what a kill leaves while the client first writes it."""
    meta = path / _META
    if meta.is_file() and meta.stat().st_size == 0:
        meta.unlink()


def _locked_sentence(path: Path, error: Exception) -> str:
    if "already accessed" in str(error) or "locked" in str(error):
        return (
            f"the local Qdrant folder {str(path)!r} is in use by another process, and local mode "
            "serves one embedder only; stop the other one, or run a Qdrant server and set "
            "PENSTOCK_EMBEDDER__QDRANT_URL"
        )
    return (
        f"the local Qdrant folder {str(path)!r} cannot be used: {error}; correct its rights, or "
        "choose another in PENSTOCK_EMBEDDER__QDRANT_PATH"
    )
