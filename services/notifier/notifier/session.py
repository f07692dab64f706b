"""What one client may do on its socket: authenticate, follow jobs, call them back."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

import structlog
from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.jobs.view import TableAway

from notifier import frames
from notifier.close_codes import (
    AUTH_TIMEOUT,
    CONNECTION_LIMIT,
    INTERNAL,
    RATE_LIMIT,
    TRY_LATER,
    UNAUTHENTICATED,
    Close,
    reason_text,
)
from notifier.following import Following
from notifier.messages import (
    Auth,
    BadMessage,
    Cancel,
    ClientMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    read_message,
)
from notifier.roster import Full

if TYPE_CHECKING:
    from notifier.desk import Desk
    from notifier.ports import Peer

__all__ = ["Session"]

log = structlog.get_logger(__name__)

_INBOX: Final = 64
"""Messages waiting for Redis or Kafka before the client's next ones are left in the network."""

_Work = Subscribe | Unsubscribe | Cancel | Literal["ticket"]


class Session:
    """One client. Implements `SessionPort`.

    An idle session has no task: messages that need Redis or Kafka are done one after another by a
    task that ends when there are none left.
    """

    __slots__ = (
        "_credit",
        "_credit_at",
        "_desk",
        "_following",
        "_inbox",
        "_is_gone",
        "_peer",
        "_ticket",
        "_timer",
        "_worker",
        "expires_at",
        "missed_pings",
        "next_check",
        "principal",
    )

    def __init__(self, desk: Desk, peer: Peer) -> None:
        self._desk = desk
        self._peer = peer
        self._following: Following | None = None
        self._inbox: deque[_Work] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticket = ""
        self._is_gone = False
        self._credit = desk.limits.burst
        self._credit_at = desk.clock.monotonic()
        self.principal: Principal | None = None
        self.missed_pings = 0
        self.next_check = 0.0
        self.expires_at = 0.0

    # How it begins.

    def begin(self, *, credential: str | None, ticket: str | None) -> None:
        """Take what the handshake said of the caller; without it an `auth` message must follow."""
        if credential is not None:
            self._authenticate(credential)
        elif ticket is not None:
            self._ticket = ticket
            self._put("ticket")
        else:
            self._timer = asyncio.get_running_loop().call_later(
                self._desk.limits.auth_timeout_s, self.end, AUTH_TIMEOUT
            )

    def _authenticate(self, credential: str) -> None:
        try:
            principal = self._desk.authenticator.authenticate(credential)
        except AuthError as error:
            self._refuse(error)
        else:
            self._admit(principal)

    def _refuse(self, error: AuthError) -> None:
        self._error(error.code, str(error))
        self.end(UNAUTHENTICATED, reason=error.code)

    def _admit(self, principal: Principal) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        full = self._desk.roster.enter(self, principal)
        if full is not None:
            self._turn_away(full)
            return
        self.principal = principal
        self._following = Following(principal.scope, self._peer, self._desk)
        self._peer.send(self._desk.ready_frame(principal))

    def _turn_away(self, full: Full) -> None:
        if full is Full.SERVER:
            code, close = "unavailable", TRY_LATER
            message = "this server has as many sockets as it can hold; connect again in a moment"
        else:
            code, close = "too_many_connections", CONNECTION_LIMIT
            message = (
                "too many open sockets of this user or tenant; close some, or share one socket"
                " between jobs"
            )
        self._error(code, message)
        self.end(close, hint_ms=self._desk.later_ms())

    # What comes in.

    def on_frame(self) -> bool:
        """Count a frame against the client's rate; False if the socket ends because of it."""
        self.missed_pings = 0
        limits = self._desk.limits
        now = self._desk.clock.monotonic()
        credit = self._credit + (now - self._credit_at) * limits.messages_per_s
        self._credit = min(credit, limits.burst) - 1
        self._credit_at = now
        if self._credit >= 0:
            return True
        self._error(
            "rate_limited",
            f"more than {limits.messages_per_s} messages a second; send fewer, one socket"
            " follows many jobs",
        )
        self.end(RATE_LIMIT, hint_ms=self._desk.later_ms())
        return False

    def on_text(self, raw: bytes) -> None:
        """Act on a message."""
        try:
            message = read_message(raw)
        except BadMessage as error:
            self._desk.metrics.messages.labels("invalid").inc()
            self._error(error.code, str(error))
            if self.principal is None and not self._ticket:
                self.end(UNAUTHENTICATED)
            return
        self._desk.metrics.messages.labels(message.type).inc()
        self._act(message)

    def _act(self, message: ClientMessage) -> None:
        if isinstance(message, Ping):
            self._peer.send(frames.pong_frame(message.id))
        elif isinstance(message, Auth):
            if self.principal is None and not self._ticket:
                self._authenticate(message.token)
            else:
                self._error("already_authenticated", "this socket has its caller; open another")
        elif self.principal is None and not self._ticket:
            self._error("not_authenticated", 'send {"type":"auth","token":"..."} first')
            self.end(UNAUTHENTICATED)
        else:
            self._put(message)

    def on_gone(self) -> None:
        """Give everything back; works twice."""
        if self._is_gone:
            return
        self._is_gone = True
        self._inbox = None
        if self._timer is not None:
            self._timer.cancel()
        if self._worker is not None and self._worker is not asyncio.current_task():
            self._worker.cancel()
        if self._following is not None:
            self._following.stop_all()
        self._desk.roster.leave(self)

    # How it ends.

    def end(self, close: Close, *, reason: str | None = None, hint_ms: int | None = None) -> None:
        """Close the socket with a documented code."""
        if self._is_gone:
            return
        self._desk.metrics.closed.labels(close.name).inc()
        text = reason or reason_text(close, resume_after_ms=hint_ms)
        self._peer.close(close.code, text)
        self.on_gone()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.missed_pings += 1
        self._peer.ping()

    # What takes time.

    def _put(self, work: _Work) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(work)
        if len(self._inbox) == _INBOX:
            self._peer.set_reading(is_on=False)
        if self._worker is None:
            self._worker = self._desk.spawn(self._work(), name="socket work")

    async def _work(self) -> None:
        try:
            while self._inbox:
                await self._do(self._inbox.popleft())
                self._peer.set_reading(is_on=True)
        except Exception:
            log.exception("session.failed")
            self.end(INTERNAL)
        finally:
            self._worker = None

    async def _do(self, work: _Work) -> None:
        if work == "ticket":
            await self._redeem()
            return
        following = self._following
        if following is None:
            return
        if isinstance(work, Cancel):
            await following.cancel(work.job)
        elif isinstance(work, Unsubscribe):
            following.unfollow(work.job)
        elif work.job is None:
            following.follow_all()
        else:
            await following.follow(work.job, work.after)

    async def _redeem(self) -> None:
        try:
            principal = await self._desk.tickets.redeem(self._ticket)
        except AuthError as error:
            self._refuse(error)
        except TableAway as error:
            self._error("unavailable", str(error))
            self.end(TRY_LATER, hint_ms=self._desk.later_ms())
        else:
            if not self._is_gone:
                self._admit(principal)

    def _error(self, code: str, message: str, *, job: str | None = None) -> None:
        self._desk.metrics.errors.labels(code).inc()
        self._peer.send(frames.error_frame(code, message, job=job))
