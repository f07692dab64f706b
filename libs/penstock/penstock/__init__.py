"""Penstock for programs: the client, and the producer that writes jobs straight into the log.

The command line and the embedded stack live beside them, in `penstock.cli` and `penstock.dev`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client import AsyncClient, Client, Transcript
    from penstock.producing import (
        EventProducer,
        ProducerIdentity,
        ReplyAddress,
        SyncEventProducer,
        reply_topic,
    )

__all__ = [
    "AsyncClient",
    "Client",
    "EventProducer",
    "ProducerIdentity",
    "ReplyAddress",
    "SyncEventProducer",
    "Transcript",
    "reply_topic",
]

_CLIENTS = {"AsyncClient", "Client", "Transcript"}


def __getattr__(name: str) -> Any:
    # On demand: who wants the client need not load the Kafka library, and the other way round.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _CLIENTS:
        from penstock import client as module  # noqa: PLC0415 - on demand, see above
    else:
        from penstock import producing as module  # type: ignore[no-redef]  # noqa: PLC0415
    return getattr(module, name)
