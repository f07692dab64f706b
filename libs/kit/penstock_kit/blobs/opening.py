"""Opening a blob store, naming a tenant's part of it, and what its failures mean."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore import exceptions as faults
from obstore.store import LocalStore, ObjectStore, from_url

from penstock_kit.errors import Fatal, Rejected, Retryable

__all__ = ["guarded", "open_store", "tenant_segment"]

_PLAIN = re.compile(r"[a-z0-9.-]+", re.ASCII)
_MISSING = (faults.NotFoundError, FileNotFoundError)
_REFUSED = (faults.PermissionDeniedError, faults.UnauthenticatedError, PermissionError)


async def guarded(awaitable: Any, *, limit_s: float | None) -> Any:
    """What a store's call returns, with its failures in our words; `limit_s` None: no limit.

    Raises:
        Rejected: `missing_blob`.
        Retryable: the store is away, or refuses us.
    """
    try:
        return await asyncio.wait_for(awaitable, limit_s)
    except _MISSING as error:
        raise Rejected(
            "the body is gone: its job was deleted, or it was never stored",
            code="missing_blob",
            field="input_ref.path",
        ) from error
    except _REFUSED as error:
        raise Retryable(
            "the blob store refuses our credentials; check them and PENSTOCK_BLOBS__URL"
        ) from error
    except (faults.BaseError, OSError) as error:
        raise Retryable(
            f"the blob store does not answer ({type(error).__name__});"
            " is PENSTOCK_BLOBS__URL right?"
        ) from error


def open_store(url: str) -> ObjectStore:
    """The store behind a URL; a local folder is made.

    Raises:
        Fatal: the URL names no store that can be opened.
    """
    parts = urlsplit(url)
    try:
        if parts.scheme == "file":
            return LocalStore(Path(parts.path), mkdir=True)
        return from_url(url)
    except (faults.BaseError, ValueError, OSError) as error:
        raise Fatal(
            f"PENSTOCK_BLOBS__URL {url!r} cannot be opened ({error}); give file:///folder,"
            " s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        ) from error


def tenant_segment(tenant: str) -> str:
    """A tenant id as one path segment: no slash, no dot-dot, different ids always differ.

    Plain ids stay readable; others (capitals too, for folders that ignore case) become a hash.
    """
    if _PLAIN.fullmatch(tenant):
        return f"t-{tenant}"
    return f"h-{hashlib.sha256(tenant.encode()).hexdigest()}"
