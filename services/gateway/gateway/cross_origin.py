"""Pages of other origins as callers: what a browser asks before it lets them read an answer.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware

from gateway.frame import App
from gateway.surface import SURFACE

__all__ = ["open_to"]

_METHODS: Final = tuple(sorted({spec.method for spec in SURFACE}))
_EXPOSED: Final = (
    "x-request-id",
    "x-penstock-job",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
    "idempotent-replayed",
    "preference-applied",
    "location",
    "link",
    "allow",
    "www-authenticate",
    "content-disposition",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "openai-processing-ms",
    "openai-poll-after-ms",
)
"""Headers that a page could not read otherwise."""


def open_to(origins: Sequence[str], app: App) -> App:
    """The app, callable by pages of these origins; `*` means all, none leaves it as it is.

    Every answer carries the header, errors too. No cookie lets anybody in, so a page can do no more
    than its own credential allows; any request header is taken, for SDKs send many of their own.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
