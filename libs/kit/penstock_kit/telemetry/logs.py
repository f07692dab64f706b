"""One chain for every log line, ours and the libraries': JSON in clusters, colours on a TTY."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor

from penstock_kit.settings import LogSettings
from penstock_kit.telemetry.redaction import Redactor
from penstock_kit.telemetry.repeats import RepeatFilter

__all__ = ["configure_logs", "job_context"]

_TONED_DOWN = {
    "aiokafka": logging.ERROR,
    "aiosqlite": logging.WARNING,
    "anthropic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "openai": logging.WARNING,
    "qdrant_client": logging.WARNING,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "websockets": logging.WARNING,
}
"""Libraries that tell below these levels what we log ourselves, or payload."""
_REPETITIVE = ("aiokafka", "penstock_kit.kafka.client")
"""Both Kafka clients, which tell of each try to connect."""


def configure_logs(
    settings: LogSettings,
    service: str,
    instance: str,
    *,
    known_secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every log line of the process through one redacting chain to `stream` (standard error).

    `known_secrets` are removed wherever they turn up. Called once, in `__main__`; again replaces
    the former.
    """
    level = getattr(logging, settings.level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Constant(service=service, instance=instance),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        Redactor(known_secrets),
    ]
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    structlog.configure(
        processors=[*shared, _renderer(settings)],
        logger_factory=_OwnLines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings),
            ],
        )
    )
    handler.addFilter(RepeatFilter(*_REPETITIVE))
    _OwnLines.handler = handler
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, floor in _TONED_DOWN.items():
        logger = logging.getLogger(name)
        logger.setLevel(max(level, floor))
        logger.handlers = []
        logger.propagate = True


def job_context(
    *, tenant: str, job: str, trace_id: str | None = None
) -> AbstractContextManager[None]:
    """Everything logged inside carries tenant, job and trace id; per task, by context variables."""
    fields = {"tenant": tenant, "job": job}
    if trace_id is not None:
        fields["trace_id"] = trace_id
    return structlog.contextvars.bound_contextvars(**fields)


class _OwnLines:
    """Where our own rendered lines go: the libraries' stream, by turns with them.

    Going through the standard library's loggers would double what a line costs.
    """

    handler: ClassVar[logging.StreamHandler[TextIO]]
    """Of the process, as the standard library's root handler is; loggers outlive it."""

    def __init__(self, name: str = "root") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line; one that cannot be written must not fail what it tells of."""
        handler = self.handler
        handler.acquire()
        try:
            with suppress(OSError, ValueError):
                handler.stream.write(f"{line}\n")
                handler.flush()
        finally:
            handler.release()

    debug = info = warning = error = critical = exception = log = msg


class _Constant:
    def __init__(self, **fields: str) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        for name, value in self._fields.items():
            event.setdefault(name, value)
        return event


def _renderer(settings: LogSettings) -> Processor:
    if settings.format == "json":
        return _render_json
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _render_json(_logger: Any, _method: str, event: EventDict) -> str:
    # Redaction left only JSON types; surrogates are all that orjson could still refuse.
    try:
        return orjson.dumps(event).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(_without_surrogates(event)).decode()


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value
