"""Liveness and readiness as named checks that say why not, and the admin port that shows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock_kit.serving import HttpServer
from penstock_kit.settings import AdminSettings

__all__ = ["AdminServer", "Check", "Health", "HealthReport"]

Check = Callable[[], str | None]
"""None while all is well, else one sentence: what is wrong and what to do. Quick, without I/O."""

_OK = 200
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer of one probe; `failing` maps the name of a check to its sentence.

    So does `notes`, which fails nothing.
    """

    status: str
    failing: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether the probe passes."""
        return not self.failing


class Health:
    """What a process knows about itself. Not alive: restart it. Not ready: send it no work.

    A process is unready until `set_started`, and again after `set_draining`; neither touches
    liveness.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self._liveness: dict[str, Check] = {}
        self._readiness: dict[str, Check] = {}
        self._notes: dict[str, Check] = {}
        self._is_started = False
        self._is_draining = False

    def check_liveness(self, name: str, check: Check) -> None:
        """Add a check whose failure only a restart can mend."""
        self._liveness[name] = check

    def check_readiness(self, name: str, check: Check) -> None:
        """Add a check whose failure should keep new work away."""
        self._readiness[name] = check

    def note(self, name: str, check: Check) -> None:
        """Add something to tell with readiness that keeps no work away, for example a reserve."""
        self._notes[name] = check

    def set_started(self) -> None:
        """Say that every part has started."""
        self._is_started = True

    def set_draining(self) -> None:
        """Turn unready for good: the process finishes what it has."""
        self._is_draining = True

    def liveness(self) -> HealthReport:
        """The answer of `/healthz`."""
        return _report("alive", _failing(self._liveness))

    def readiness(self) -> HealthReport:
        """The answer of `/readyz`: liveness and readiness checks together."""
        if self._is_draining:
            return HealthReport(
                "draining",
                {"draining": "the process got a signal and finishes its work; send new work on"},
            )
        failing = _failing(self._liveness | self._readiness)
        if not self._is_started:
            failing = {"starting": "parts are still starting; wait, or read the log"} | failing
        return _report("ready", failing, notes=_failing(self._notes))


def _failing(checks: dict[str, Check]) -> dict[str, str]:
    failing = {}
    for name, check in checks.items():
        try:
            sentence = check()
        except Exception as error:  # noqa: BLE001 - the edge: a broken check is a failing check
            sentence = f"the check itself failed with {type(error).__name__}; see the log"
        if sentence is not None:
            failing[name] = sentence
    return failing


def _report(
    good: str, failing: dict[str, str], *, notes: dict[str, str] | None = None
) -> HealthReport:
    return HealthReport("failing" if failing else good, failing, notes or {})


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AdminServer:
    """A Part: `/healthz`, `/readyz` and `/metrics` on a port that users never see."""

    def __init__(
        self, settings: AdminSettings, health: Health, registry: CollectorRegistry
    ) -> None:
        self._health = health
        self._registry = registry
        self._server = HttpServer(
            self._app,
            host=settings.host,
            port=settings.port,
            stop_grace=timedelta(seconds=1),
            http="h11",
            interface="asgi3",
            ws="none",
            timeout_keep_alive=5,
        )

    @property
    def port(self) -> int:
        """The port in use."""
        return self._server.port

    async def start(self) -> None:
        """Return when probes are answered."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the port."""
        await self._server.stop()

    async def _app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = self._answer(scope["method"], scope["path"])
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type.encode()),
                    (b"content-length", str(len(body)).encode()),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send(
            {
                "type": "http.response.body",
                "body": b"" if scope["method"] == "HEAD" else body,
            }
        )

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, "application/json", _json({"error": f"{path} takes GET only"})
        if path == "/healthz":
            return self._probe(self._health.liveness())
        if path == "/readyz":
            return self._probe(self._health.readiness())
        if path == "/metrics":
            return _OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        return 404, "application/json", _json({"error": "try /healthz, /readyz or /metrics"})

    def _probe(self, report: HealthReport) -> tuple[int, str, bytes]:
        told: dict[str, Any] = {
            "service": self._health.service,
            "status": report.status,
            "failing": _reasons(report.failing),
        }
        if report.notes:
            told["notes"] = _reasons(report.notes)
        body = _json(told)
        return _OK if report.is_ok else _UNAVAILABLE, "application/json", body


def _reasons(checks: dict[str, str]) -> list[dict[str, str]]:
    return [{"check": name, "reason": reason} for name, reason in checks.items()]


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
