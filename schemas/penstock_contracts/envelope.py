"""CloudEvents 1.0 on Kafka: binary mode out, binary and structured mode in.

The hot path reads and writes headers itself; a contract test holds it equal to the SDK's.
Source: CloudEvents 1.0.2 and its Kafka protocol binding 1.0.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from penstock_contracts.codec import decode_json, dumps
from penstock_contracts.errors import NotACloudEvent
from penstock_contracts.mac import hmac_sha256
from penstock_contracts.replies import CORRELATION_ID, REPLY_TO, ReplyAddress

__all__ = [
    "CONTENT_TYPE",
    "Envelope",
    "Headers",
    "UNREADABLE_HEADERS",
    "decode_event",
    "encode_headers",
    "sign",
    "sign_attributes",
    "signature_is_valid",
]

Headers = list[tuple[str, bytes]]

CONTENT_TYPE = "application/json"
UNREADABLE_HEADERS: Final = (("penstock_unreadable_headers", b"not UTF-8"),)
"""What readers put in place of all headers of a record that has one whose name is not UTF-8: no
client gives any of them."""
_UNREADABLE: Final = UNREADABLE_HEADERS[0][0]
_REQUIRED = ("id", "source", "type")
_CORE = ("id", "source", "type", "time", "subject")
_EXTENSIONS = ("tenant", "user", "attempt", "seq", "priority", "deadline", "producer", "signature")
_TRACE = ("traceparent", "tracestate")
_PLAIN = ("content-type", *_TRACE, REPLY_TO)
"""Headers of text that we read and that are no attributes."""
_ANY_BYTES = "surrogateescape"
_MAX_ATTRIBUTE_CHARS = 1024
_MAX_DIGITS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The context attributes of one event; `data` travels beside it as bytes of JSON.

    `attempt` and `seq` place a job event in its stream. `producer` and `signature` prove who may
    speak for the tenant. `reply` is where the producer of a job wants to hear of its end; its two
    headers are no attributes, in either mode. `extra` keeps attributes that we do not know, so that
    relays lose nothing.
    """

    id: str
    source: str
    type: str
    time: datetime | None = None
    subject: str | None = None
    tenant: str | None = None
    user: str | None = None
    attempt: int | None = None
    seq: int | None = None
    priority: str | None = None
    deadline: str | None = None
    producer: str | None = None
    signature: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    reply: ReplyAddress | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def encode_headers(envelope: Envelope) -> Headers:
    """The Kafka headers of an event in binary mode."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", envelope.type.encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]
    if envelope.time is not None:
        headers.append(("ce_time", _format_time(envelope.time).encode()))
    for name in ("subject", *_EXTENSIONS):
        value = getattr(envelope, name)
        if value is not None:
            headers.append((f"ce_{name}", str(value).encode()))
    headers.extend((f"ce_{name}", value.encode()) for name, value in envelope.extra.items())
    headers.extend(
        (name, value.encode()) for name in _TRACE if (value := getattr(envelope, name)) is not None
    )
    if envelope.reply is not None:
        headers.extend(_reply_headers(envelope.reply))
    return headers


def decode_event(
    headers: Iterable[tuple[str, bytes | None]], value: bytes | None
) -> tuple[Envelope, bytes]:
    """The envelope and the JSON bytes of a record in either mode.

    Raises:
        NotACloudEvent: no or a broken envelope, or content that is not JSON.
        MalformedJson: a structured event whose body is no JSON.
    """
    if value is None:
        raise NotACloudEvent("the record has no value; a tombstone is not an event here")
    named = _decode_headers(headers)
    if _UNREADABLE in named:
        raise NotACloudEvent(
            "a header has a name that is not UTF-8, so none of them could be read; name headers in"
            " ASCII"
        )
    content_type = named.get("content-type", "")
    if content_type.startswith("application/cloudevents"):
        return _decode_structured(content_type, named, value)
    attributes = {name[3:]: text for name, text in named.items() if name.startswith("ce_")}
    return _envelope(attributes, named, content_type), value


def sign(envelope: Envelope, data: bytes, *, secret: bytes) -> str:
    """The signature of an event: base64url HMAC-SHA256 over attributes and body.

    The text is `v1`, id, source, type, subject, tenant, user and hex SHA-256 of the body, joined by
    LF; an absent attribute is empty. So whatever decides whose job it is is covered.
    """
    attributes = (
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.subject or "",
        envelope.tenant or "",
        envelope.user or "",
    )
    return sign_attributes(attributes, data, secret=secret)


def sign_attributes(
    attributes: tuple[str, str, str, str, str, str], data: bytes, *, secret: bytes
) -> str:
    """As `sign`, for writers that build no envelope: id, source, type, subject, tenant, user."""
    text = "\n".join(("v1", *attributes, hashlib.sha256(data).hexdigest()))
    digest = hmac_sha256(secret, text.encode())
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def signature_is_valid(envelope: Envelope, data: bytes, *, secret: bytes) -> bool:
    """Whether the event carries the signature of the holder of `secret`; takes constant time."""
    given = (envelope.signature or "").encode()  # compare_digest takes no text beyond ASCII
    return hmac.compare_digest(given, sign(envelope, data, secret=secret).encode())


def _decode_headers(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, raw in headers:
        if raw is None:
            continue
        try:
            named[name.lower()] = raw.decode()
        except UnicodeDecodeError:
            if name.lower() == CORRELATION_ID:  # any bytes; they are given back as they came
                named[CORRELATION_ID] = raw.decode(errors=_ANY_BYTES)
            elif name.startswith("ce_") or name in _PLAIN:
                raise NotACloudEvent(f"header {name[:40]!r} is not UTF-8") from None
    return named


def _decode_structured(
    content_type: str, named: dict[str, str], value: bytes
) -> tuple[Envelope, bytes]:
    if not content_type.startswith("application/cloudevents+json"):
        raise NotACloudEvent(f"structured mode is accepted as JSON only, not {content_type[:80]!r}")
    event = decode_json(value)
    if not isinstance(event, dict):
        raise NotACloudEvent("a structured event is a JSON object")
    data = _structured_data(event)
    attributes = {
        name: _attribute(name, content)
        for name, content in event.items()
        if name not in ("data", "data_base64", "datacontenttype") and content is not None
    }
    return _envelope(attributes, named, event.get("datacontenttype", CONTENT_TYPE)), data


def _structured_data(event: dict[str, Any]) -> bytes:
    if "data_base64" in event:
        try:
            return base64.b64decode(event["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise NotACloudEvent("data_base64 is not base64") from None
    if "data" not in event:
        raise NotACloudEvent("the event has no data")
    return dumps(event["data"])


def _attribute(name: str, content: Any) -> str:
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, str | int):
        return str(content)
    raise NotACloudEvent(f"attribute {name[:40]!r} must be a string, an integer or a boolean")


def _envelope(attributes: dict[str, str], named: dict[str, str], content_type: Any) -> Envelope:
    _check_attributes(attributes, content_type)
    known = (*_CORE, *_EXTENSIONS, "specversion")
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=_parse_time(attributes.get("time")),
        subject=attributes.get("subject"),
        tenant=attributes.get("tenant"),
        user=attributes.get("user"),
        attempt=_parse_number("attempt", attributes.get("attempt")),
        seq=_parse_number("seq", attributes.get("seq")),
        priority=attributes.get("priority"),
        deadline=attributes.get("deadline"),
        producer=attributes.get("producer"),
        signature=attributes.get("signature"),
        traceparent=named.get("traceparent") or attributes.get("traceparent"),
        tracestate=named.get("tracestate") or attributes.get("tracestate"),
        reply=_reply(named) if REPLY_TO in named else None,
        extra={
            name: text
            for name, text in attributes.items()
            if name not in known and name not in _TRACE
        },
    )


def _reply(named: Mapping[str, str]) -> ReplyAddress:
    return ReplyAddress(named[REPLY_TO], named.get(CORRELATION_ID))


def _reply_headers(reply: ReplyAddress) -> Headers:
    headers = [(REPLY_TO, reply.topic.encode())]
    if reply.correlation is not None:
        headers.append((CORRELATION_ID, reply.correlation.encode(errors=_ANY_BYTES)))
    return headers


def _check_attributes(attributes: dict[str, str], content_type: Any) -> None:
    if not attributes:
        raise NotACloudEvent("the record has no ce_ headers and is no structured CloudEvent")
    if attributes.get("specversion") != "1.0":
        raise NotACloudEvent("ce_specversion must be 1.0")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise NotACloudEvent(f"ce_{name} is missing", field=f"ce_{name}")
    for name, text in attributes.items():
        if len(text) > _MAX_ATTRIBUTE_CHARS:
            message = f"ce_{name[:40]} is longer than {_MAX_ATTRIBUTE_CHARS} characters"
            raise NotACloudEvent(message, field=f"ce_{name[:40]}")
    if not isinstance(content_type, str) or not content_type.split(";")[0].strip().lower().endswith(
        "json"
    ):
        raise NotACloudEvent("the content type must be application/json", field="content-type")


def _format_time(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise NotACloudEvent("ce_time is no RFC 3339 time", field="ce_time") from None
    if value.tzinfo is None:
        raise NotACloudEvent("ce_time has no time zone", field="ce_time")
    return value


def _parse_number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise NotACloudEvent(f"ce_{name} is no whole number", field=f"ce_{name}")
    return int(text)
