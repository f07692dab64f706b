"""Who may open a socket: path, origin, bearer; then its session. An ASGI app for `websocket`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final
from urllib.parse import parse_qsl

import structlog
from penstock_kit.auth.principal import Authenticator, Principal
from starlette.requests import HTTPConnection

from gateway.admission.bodies import BodyBudget
from gateway.callers import authenticated
from gateway.errors import ApiError
from gateway.http import Receive, Scope, Send, problem
from gateway.metrics import GatewayMetrics
from gateway.openai.socket.close_codes import CROWDED, RESTART, SLOW, Close
from gateway.openai.socket.frames import error_frame
from gateway.openai.socket.making import ResponseMaker
from gateway.openai.socket.resuming import Resume, asked_resume
from gateway.openai.socket.roster import Roster
from gateway.openai.socket.session import Session, SessionLimits

__all__ = ["PATH", "SocketDoor"]

log = structlog.get_logger(__name__)

PATH: Final = "/v1/responses"
_YOUNGEST: Final = 0.9
"""Sockets end at 90 to 100 % of the highest age, so that they do not come again all at once."""


class SocketDoor:
    """Refuses by HTTP what cannot be a session; what a client may try again is closed by code."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        roster: Roster,
        maker: ResponseMaker,
        limits: SessionLimits,
        origins: Sequence[str],
        metrics: GatewayMetrics,
        random: Random,
        bodies: BodyBudget,
        abort: Callable[[Scope], None],
    ) -> None:
        self._authenticator = authenticator
        self._roster = roster
        self._maker = maker
        self._limits = limits
        self._origins = frozenset(origins)
        self._metrics = metrics
        self._random = random
        self._bodies = bodies
        self._abort = abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its handshake to its end."""
        await receive()  # websocket.connect
        try:
            principal, resume = self._admitted(scope)
        except ApiError as error:
            await _refuse(error, scope, send)
            return
        await send({"type": "websocket.accept"})
        close = await self._serve(principal, resume, scope, receive, send)
        if close is None:
            return
        self._metrics.sockets_closed.labels(close.name).inc()
        if close is SLOW:
            # It reads nothing, so a close frame would wait behind what it does not take.
            self._abort(scope)
            return
        try:
            await send({"type": "websocket.close", "code": close.code, "reason": close.reason})
        except OSError:
            return  # it has left

    async def _serve(
        self,
        principal: Principal,
        resume: Resume | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Close | None:
        del scope
        if self._roster.is_draining:
            return RESTART
        session = Session(
            principal,
            maker=self._maker,
            limits=self._limits,
            lapse_of=self._authenticator.lapse_of,
            bodies=self._bodies,
            age_s=self._limits.max_age.total_seconds() * self._random.uniform(_YOUNGEST, 1.0),
        )
        if not self._roster.enter(session, principal):
            message = "too many sockets of this tenant or in all; share one between streams"
            error = ApiError("too_many_sockets", message, retry_after_s=1.0)
            await send({"type": "websocket.send", "text": error_frame(error)})
            return CROWDED
        try:
            return await session.run(receive, send, resume=resume)
        finally:
            self._roster.leave(session)

    def _admitted(self, scope: Scope) -> tuple[Principal, Resume | None]:
        if scope["path"] != PATH:
            message = f"there is no socket at this address; connect to {PATH}"
            raise ApiError("not_found", message)
        self._check_origin(scope)
        principal = authenticated(self._authenticator, HTTPConnection(scope))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return principal, asked_resume(dict(query))

    def _check_origin(self, scope: Scope) -> None:
        """Pages of foreign sites may not use what their visitor's network can reach."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if not origins:
            return  # no browser
        is_one = len(origins) == 1 and origins[0] != "null"
        if is_one and (origins[0] in self._origins or "*" in self._origins):
            return
        message = (
            "pages of this origin may not connect; the operator lists allowed ones in "
            "PENSTOCK_GATEWAY__SOCKET_ORIGINS"
        )
        raise ApiError("origin_not_allowed", message)


async def _refuse(error: ApiError, scope: Scope, send: Send) -> None:
    """The answer of the same request by HTTP, instead of the handshake."""
    answer = problem(error, path=scope["path"])
    await send(
        {
            "type": "websocket.http.response.start",
            "status": answer.status_code,
            "headers": answer.headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": answer.body})
