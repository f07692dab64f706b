"""Makes WebSocket mode of `/v1/responses`."""

from __future__ import annotations

from random import SystemRandom

from penstock_kit.serving import abort_socket

from gateway.metrics import GatewayMetrics
from gateway.openai.responses.wiring import Responses
from gateway.openai.socket.door import SocketDoor
from gateway.openai.socket.making import ResponseMaker
from gateway.openai.socket.roster import Roster, RosterLimits
from gateway.openai.socket.session import SessionLimits
from gateway.openai.wiring import FrontDoor

__all__ = ["build_roster", "build_socket"]


def build_roster(door: FrontDoor, metrics: GatewayMetrics) -> Roster:
    """Who is connected; to be drained with the process."""
    group = door.settings.gateway
    limits = RosterLimits(total=group.sockets, per_tenant=group.sockets_per_tenant)
    return Roster(limits, metrics)


def build_socket(
    door: FrontDoor, responses: Responses, roster: Roster, *, metrics: GatewayMetrics
) -> SocketDoor:
    """The ASGI app of all sockets."""
    native, group = door.native, door.settings.gateway
    maker = ResponseMaker(
        runner=door.runner,
        asks=responses.asks,
        lookup=responses.lookup,
        readers=responses.readers,
        canceller=native.canceller,
    )
    limits = SessionLimits(
        frames=group.stream_frames,
        size_bytes=group.stream_bytes,
        stall=group.socket_stall,
        lanes=group.socket_streams,
        waiting=group.socket_streams,
        messages_per_s=group.socket_messages_per_s,
        max_age=group.socket_max_age,
    )
    return SocketDoor(
        authenticator=native.authenticator,
        roster=roster,
        maker=maker,
        limits=limits,
        origins=group.socket_origins,
        metrics=metrics,
        random=SystemRandom(),
        bodies=native.bodies,
        abort=abort_socket,
    )
