"""Makes the endpoints of `/v1/responses`."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contracts.ids import JobIds

from gateway.openai.conversations.ports import ConversationGate
from gateway.openai.ending import Endings
from gateway.openai.feed import FeedLimits
from gateway.openai.responses.asked import ResponseAsks
from gateway.openai.responses.deleting import Deleter
from gateway.openai.responses.endpoints import ResponseEndpoints
from gateway.openai.responses.lookup import ResponseLookup
from gateway.openai.responses.readers import Readers
from gateway.openai.responses.streams import ResponseStreams
from gateway.openai.responses.turns import Turns
from gateway.openai.wiring import FrontDoor

__all__ = ["Responses", "build_responses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """The area: its endpoints, and what sockets and batches take of it.

    Attributes:
        readers: to be drained with the process.
    """

    endpoints: ResponseEndpoints
    asks: ResponseAsks
    lookup: ResponseLookup
    readers: Readers


def build_responses(door: FrontDoor, *, conversations: ConversationGate | None) -> Responses:
    """The area; `conversations` None: turns of conversations are refused."""
    native, group = door.native, door.settings.gateway
    endings = Endings(native.blobs)
    lookup = ResponseLookup(
        table=native.table, reader=native.reader, blobs=native.blobs, endings=endings
    )
    ids = JobIds(door.settings.auth.id_secret.get_secret_value().encode())
    asks = ResponseAsks(
        models=door.models, turns=Turns(lookup, ids=ids), conversations=conversations
    )
    readers = Readers(
        native.streams,
        endings=endings,
        lapse_of=native.authenticator.lapse_of,
        limits=FeedLimits(max_events=group.stream_frames, max_bytes=group.stream_bytes),
        heartbeat=group.heartbeat,
    )
    endpoints = ResponseEndpoints(
        runner=door.runner,
        asks=asks,
        lookup=lookup,
        readers=readers,
        streams=ResponseStreams(stall_s=group.stream_stall.total_seconds()),
        canceller=native.canceller,
        deleter=Deleter(producer=native.producer, clock=native.clock),
        max_wait=group.max_wait,
    )
    return Responses(endpoints=endpoints, asks=asks, lookup=lookup, readers=readers)
