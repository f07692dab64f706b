"""The ASGI application: a frame of our own around FastAPI's router."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles

from gateway.errors import ApiError
from gateway.frame import Frame
from gateway.http import Answer, ClientGoneError, StreamAnswer, problem
from gateway.metrics import GatewayMetrics
from gateway.openapi import VERSION, openapi_bytes, openapi_document
from gateway.surface import AREAS

__all__ = ["create_app"]

log = structlog.get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Answer | StreamAnswer]]

_STATIC = Path(str(resources.files("gateway"))) / "static"
_HTML = (b"content-type", b"text/html; charset=utf-8")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_CLIENT_CLOSED = 499


def create_app(
    endpoints: Mapping[str, object],
    *,
    metrics: GatewayMetrics,
    randomness: Callable[[int], bytes],
    sockets: Any = None,
) -> Frame:
    """The application of one gateway; `endpoints` has an object for each of `AREAS`."""
    app = FastAPI(
        title="Penstock gateway",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = openapi_document  # type: ignore[method-assign]  # FastAPI's documented way to replace it
    fast: dict[tuple[str, str], Endpoint] = {}
    for area, specs in AREAS.items():
        for spec in specs:
            endpoint = _guarded(getattr(endpoints[area], spec.handler))
            app.add_route(spec.path, endpoint, methods=[spec.method], name=spec.handler)  # type: ignore[arg-type]  # an Answer is an ASGI app, as Starlette asks
            if "{" not in spec.path:
                fast[spec.method, spec.path] = endpoint
    document = cache(openapi_bytes)

    async def serve_document(_: Request) -> Answer:
        return Answer(200, document())

    async def serve_docs(_: Request) -> Answer:
        page = (_STATIC / "docs.html").read_bytes()
        return Answer(200, page, [_HTML, (b"content-security-policy", _CSP.encode())])

    app.add_route("/openapi.json", serve_document, methods=["GET"])  # type: ignore[arg-type]  # as above
    app.add_route("/docs", serve_docs, methods=["GET"])  # type: ignore[arg-type]  # as above
    app.mount("/docs/assets", StaticFiles(directory=_STATIC), name="assets")
    app.add_exception_handler(HTTPException, _Refusals(app))
    return Frame(
        app,
        fast=fast,
        metrics=metrics,
        clock=time.perf_counter,
        randomness=randomness,
        sockets=sockets,
    )


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with every error answered by the registry; none reaches the framework."""

    async def run(request: Request) -> Answer | StreamAnswer:
        path = request.scope["path"]
        try:
            return await endpoint(request)
        except ApiError as error:
            return problem(error, path=path)
        except ClientGoneError:
            return Answer(_CLIENT_CLOSED, b"")
        except Exception as error:  # noqa: BLE001 - the edge: an error of ours is answered and logged, without its text, which may quote payload
            frames = traceback.extract_tb(error.__traceback__)[-5:]
            log.error(  # noqa: TRY400 - the text of the exception may quote payload
                "request.failed",
                error=type(error).__name__,
                at=[f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames],
                request_id=request.scope.get("penstock.request_id"),
            )
            message = "the gateway made a mistake; report the x-request-id"
            return problem(ApiError("internal_error", message), path=path)

    return run


class _Refusals:
    """Answers what no route takes: 404, and 405 with every method that the address has."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, request: Request, error: Exception) -> Any:
        path = request.scope["path"]
        methods = self._methods(request)
        if isinstance(error, HTTPException) and error.status_code == 405 and methods:  # noqa: PLR2004 - HTTP
            allow = ", ".join(sorted(methods))
            message = f"this address takes {allow}, not {request.method[:16]}"
            return problem(
                ApiError("method_not_allowed", message, headers={"allow": allow}), path=path
            )
        return problem(
            ApiError("not_found", "there is nothing at this address; see /docs"), path=path
        )

    def _methods(self, request: Request) -> set[str]:
        found: set[str] = set()
        for route in self._app.routes:
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
                found |= route.methods or set()
        return found
