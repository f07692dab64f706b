"""How a job ended, for surfaces: its output wherever it lies, or the error to answer with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from penstock_contracts.codec import encode_model
from penstock_contracts.parts import BlobRef
from penstock_contracts.snapshot import Snapshot
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.ports import Blobs

__all__ = ["Ending", "Endings", "ending_of_snapshot"]

_TOO_MANY = 429
_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A terminal event as plain values.

    Attributes:
        status: `completed`, `failed`, `cancelled`, `expired` or `unknown_outcome`.
        output: of a completed job, wherever it was stored.
        model: which model answered, where the event says so.
        ended_at: Unix seconds, where the event says so.
    """

    status: str
    output: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    model: str | None = None
    ended_at: int | None = None

    def completed_output(self, where: Callable[[str], str] | None = None) -> Mapping[str, Any]:
        """The output. `where` gives the surface's name of a field of the job's input.

        Raises:
            ApiError: the job ended without one; kind and sentence tell how.
        """
        if self.status == "completed" and self.output is not None:
            return self.output
        raise self.problem(where)

    def problem(self, where: Callable[[str], str] | None = None) -> ApiError:
        """The error that a job that did not complete is answered with."""
        if self.status == "cancelled":
            return ApiError("job_cancelled", "the job was cancelled; send it again if it is wanted")
        if self.status == "expired":
            message = "the job was not started before its deadline; nothing was charged"
            return ApiError("job_expired", message)
        if self.status == "completed":
            return ApiError("result_gone", "the result of this job is no longer stored")
        error = self.error or {}
        message = str(error.get("message") or "the job ended without a result")
        param = error.get("param")
        told = {
            "message": message,
            "type": error.get("type") or "server_error",
            "param": param if param is None or where is None else where(param),
            "code": error.get("code"),
        }
        return ApiError(_kind(error), message, members={"error": told})


class Endings:
    """Reads terminal events."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def read(self, scope: TenantScope, value: Mapping[str, Any]) -> Ending:
        """The ending that a decoded terminal event, or a snapshot as one, tells of.

        Raises:
            ApiError: blobs_unavailable, result_gone.
        """
        output = value.get("output")
        if output is None and value.get("output_ref") is not None:
            output = await self._fetch(scope, BlobRef.model_validate(value["output_ref"]))
        return Ending(
            status=str(value["type"]),
            output=output,
            usage=value.get("usage"),
            error=value.get("error"),
            model=value.get("model"),
            ended_at=_seconds(value.get("at")),
        )

    async def _fetch(self, scope: TenantScope, ref: BlobRef) -> Any:
        try:
            pieces = [piece async for piece in self._blobs.stream(scope, ref)]
        except Retryable as error:
            message = "the store for large results does not answer; ask again later"
            raise ApiError(
                "blobs_unavailable", message, retry_after_s=error.retry_after_s or 2.0
            ) from error
        except Rejected as error:
            raise ApiError("result_gone", "the result of this job is no longer stored") from error
        return orjson.loads(b"".join(pieces))


def ending_of_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """A terminal snapshot in the shape of a terminal event."""
    value: dict[str, Any] = orjson.loads(encode_model(snapshot))
    return {**value, "type": snapshot.status.value}


def _seconds(at: Any) -> int | None:
    return int(datetime.fromisoformat(at).timestamp()) if isinstance(at, str) else None


def _kind(error: Mapping[str, Any]) -> str:
    status = error.get("provider_status")
    if status == _TOO_MANY or error.get("type") == "rate_limit_error":
        return "job_rate_limited"
    if status in _REFUSED or error.get("type") == "invalid_request_error":
        return "job_refused"
    return "job_gave_up"
