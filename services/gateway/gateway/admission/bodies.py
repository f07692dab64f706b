"""How many bytes of bodies this process holds at once; what is beyond is refused unread."""

from __future__ import annotations

from typing import Self

from prometheus_client import Gauge

from gateway.errors import ApiError

__all__ = ["BodyBudget", "BodyShare"]

_PER_REQUEST_BYTES = 16 * 1024
"""What a request costs beside its body: connection, headers, decoded objects. Bounds how many
small requests are under way."""
_RETRY_S = 1.0


class BodyBudget:
    """Hands out shares. One thread."""

    def __init__(self, max_bytes: int, used: Gauge, *, stall_s: float) -> None:
        """`stall_s` is how long a body with a share may keep us waiting for its next bytes."""
        self.stall_s = stall_s
        self._max_bytes = max_bytes
        self._used = 0
        used.set_function(lambda: self._used)

    def share(self) -> BodyShare:
        """A share for one request; close it when the body is not needed any more."""
        return BodyShare(self)

    def take(self, size: int) -> bool:
        """Reserve bytes if they fit. What is alone always fits, however large."""
        if self._used > 0 and self._used + size > self._max_bytes:
            return False
        self._used += size
        return True

    def give_back(self, size: int) -> None:
        """The inverse of `take`."""
        self._used -= size


class BodyShare:
    """The bytes of one request; a context manager."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    @property
    def stall_s(self) -> float:
        """How long its body may keep us waiting for its next bytes."""
        return self._budget.stall_s

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._taken)
        self._taken = 0

    def hold(self, size: int) -> None:
        """Make the share large enough for a body of `size` bytes.

        Raises:
            ApiError: gateway_busy; the body must not be read on.
        """
        more = size + _PER_REQUEST_BYTES - self._taken
        if more <= 0:
            return
        if not self._budget.take(more):
            message = "this gateway holds as many bodies as it may; send the request again shortly"
            raise ApiError(
                "gateway_busy", message, retry_after_s=_RETRY_S, headers={"connection": "close"}
            )
        self._taken += more
