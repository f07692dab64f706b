"""One job's events over one WebSocket connection; `AsyncClient.events` reconnects."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson
from penstock_contracts.events import Position
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from penstock.client.errors import ApiError, ClientError, NotAuthorized, NotFound, Unreachable
from penstock.client.models import StreamEvent
from penstock.client.transcript import START
from penstock.client.wire import event_of

__all__ = ["SUBPROTOCOL", "socket_events", "socket_url"]

SUBPROTOCOL: Final = Subprotocol("penstock.v1.json")
_FINAL_CLOSES: Final = {1002, 1003, 1007, 1009, 4401, 4403}
"""Close codes after which the same request cannot succeed; docs/websocket.md lists all."""
_MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""A snapshot may hold a whole result."""
_PATH: Final = "/v1/socket"


def socket_url(notifier: str) -> str:
    """The address of the socket, from that of the notifier or from itself."""
    address = notifier.rstrip("/")
    return address if address.endswith(_PATH) else f"{address}{_PATH}"


async def socket_events(
    url: str, *, api_key: str, job: str | None = None, after: Position = START
) -> AsyncGenerator[StreamEvent]:
    """Connect, subscribe, and yield until the connection ends; `job` None follows all jobs.

    Raises:
        NotAuthorized: the credential was refused.
        NotFound: there is no such job for this credential.
        Unreachable: no connection, it broke, or the notifier cannot tell now; connect again after
            the last place.
    """
    try:
        async with connect(
            url,
            subprotocols=[SUBPROTOCOL],
            additional_headers={"Authorization": f"Bearer {api_key}"},
            compression=None,
            max_size=_MAX_FRAME_BYTES,
        ) as socket:
            await socket.send(orjson.dumps(subscribe_frame(job, after)).decode())
            async for raw in socket:
                event = _read(orjson.loads(raw))
                if event is not None:
                    yield event
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd is not None else 1006
        if code in _FINAL_CLOSES:
            reason = error.rcvd.reason if error.rcvd is not None else ""
            raise NotAuthorized(
                f"the notifier closed the socket: {reason}", status=401, code=str(code)
            ) from error
        raise Unreachable(f"the socket was closed with code {code}") from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise Unreachable(f"no socket at {url}: {str(error) or type(error).__name__}") from error


def subscribe_frame(job: str | None, after: Position) -> dict[str, Any]:
    """The frame that asks for a job's events after a place, or for all events from now on."""
    if job is None:
        return {"type": "subscribe", "all": True}
    frame: dict[str, Any] = {"type": "subscribe", "job": job}
    if after != START:
        frame["position"] = {"attempt": after.attempt, "seq": after.seq}
    return frame


def _read(frame: dict[str, Any]) -> StreamEvent | None:
    kind = frame.get("type")
    if kind == "event":
        return event_of(orjson.dumps(frame["event"]))
    if kind == "snapshot":
        return event_of(orjson.dumps(frame))
    if kind == "error":
        raise _refusal(str(frame.get("code")), str(frame.get("message")))
    return None


def _refusal(code: str, message: str) -> ClientError:
    if code == "not_found":
        return NotFound(message, status=404, code=code)
    if code == "unavailable":
        return Unreachable(message)
    return ApiError(message, status=400, code=code)
