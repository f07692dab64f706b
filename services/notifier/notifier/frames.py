"""WebSocket frames as bytes, made once and written to any number of sockets.

A server's frames are not masked, so a frame is the same for everybody (RFC 6455, 5.1).
"""

from __future__ import annotations

import struct
from typing import Any, Final

from penstock_contracts.codec import dumps, encode_model
from penstock_contracts.events import Position
from penstock_contracts.snapshot import Snapshot
from penstock_kit.tail.tailed import TailedEvent

__all__ = [
    "EventFrames",
    "cancelling_frame",
    "error_frame",
    "json_frame",
    "pong_frame",
    "snapshot_frame",
    "subscribed_all_frame",
    "subscribed_frame",
    "text_frame",
    "unsubscribed_frame",
]

_FINAL_TEXT: Final = 0x81
_SHORT: Final = 126
_MEDIUM: Final = 1 << 16


def text_frame(payload: bytes) -> bytes:
    """One unfragmented text message."""
    size = len(payload)
    if size < _SHORT:
        header = struct.pack("!BB", _FINAL_TEXT, size)
    elif size < _MEDIUM:
        header = struct.pack("!BBH", _FINAL_TEXT, 126, size)
    else:
        header = struct.pack("!BBQ", _FINAL_TEXT, 127, size)
    return header + payload


def json_frame(message: dict[str, Any]) -> bytes:
    """A message of plain values."""
    return text_frame(dumps(message))


class EventFrames:
    """Frames of events; the last one is kept, because one event goes to many sockets in a row."""

    def __init__(self) -> None:
        self._event: TailedEvent | None = None
        self._frame = b""

    def frame(self, event: TailedEvent) -> bytes:
        """The frame of an event: its JSON as it is in the log, inside of ours."""
        if event is not self._event:
            self._frame = text_frame(
                b'{"type":"event","job":"%b","attempt":%d,"seq":%d,"event":%b}'
                % (event.job.encode(), *event.position, event.value)
            )
            self._event = event
        return self._frame


def snapshot_frame(snapshot: Snapshot) -> bytes:
    """All output of a job so far."""
    return text_frame(encode_model(snapshot))


def subscribed_frame(
    job: str, position: Position, *, recovered: bool, was_recovering: bool
) -> bytes:
    """A stream begins after `position`; it goes on from an earlier place if `was_recovering`."""
    return json_frame(
        {
            "type": "subscribed",
            "job": job,
            "recovered": recovered,
            "was_recovering": was_recovering,
            "position": {"attempt": position.attempt, "seq": position.seq},
        }
    )


def subscribed_all_frame() -> bytes:
    """Events of all jobs in the caller's scope follow, from now on."""
    return json_frame({"type": "subscribed", "all": True})


def unsubscribed_frame(job: str | None) -> bytes:
    """No events of the job (None: of all jobs) follow."""
    return json_frame(
        {"type": "unsubscribed", "all": True}
        if job is None
        else {"type": "unsubscribed", "job": job}
    )


def cancelling_frame(job: str) -> bytes:
    """The cancel is in the log; the `cancelled` event tells when it has taken effect."""
    return json_frame({"type": "cancelling", "job": job})


def pong_frame(nonce: str | None) -> bytes:
    """The answer to a `ping` message."""
    return json_frame({"type": "pong"} if nonce is None else {"type": "pong", "id": nonce})


def error_frame(code: str, message: str, *, job: str | None = None) -> bytes:
    """Something that the client asked for was not done."""
    content = {"type": "error", "code": code, "message": message}
    return json_frame(content if job is None else content | {"job": job})
