"""Most of the log is pieces of text: their patch without models. A contract test holds both equal.

Only what our own workers write in the ordinary way is read here; anything that differs in the least
goes the general way, which knows all rules.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from penstock_contracts.catalog import ce_event_type
from penstock_contracts.envelope import CONTENT_TYPE
from penstock_contracts.events import Position
from penstock_contracts.ids import JobIds
from penstock_contracts.models import Identifier
from pydantic import TypeAdapter, ValidationError

from penstock_kit.jobs.facets import Facets
from penstock_kit.jobs.issued import may_belong
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.jobs.view import StoredEvent
from penstock_kit.kafka.ports import Record

__all__ = ["lean_delta_patch"]

_REQUIRED: Final = frozenset(
    {
        "ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "ce_time", "ce_subject",
        "ce_tenant", "ce_attempt", "ce_seq",
    }
)  # fmt: skip
_OPTIONAL: Final = frozenset({"ce_user", "traceparent", "tracestate"})
_KNOWN: Final = _REQUIRED | _OPTIONAL
_DELTA: Final = ce_event_type("delta").encode()
_JSON: Final = CONTENT_TYPE.encode()
_MEMBERS: Final = {"job", "attempt", "seq", "at", "type", "deltas"}
_TEXT_MEMBERS: Final = {"choice", "type", "text"}
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MAX_BYTES: Final = 1024
_MAX_DIGITS: Final = 10
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def lean_delta_patch(record: Record, *, ids: JobIds) -> JobPatch | None:
    """The patch of a delta that holds text alone; None: the general way decides."""
    key, value, headers = record.key, record.value, record.headers
    named = dict(headers)
    if named.get("ce_type") != _DELTA or not key or not value:
        return None
    if len(named) != len(headers) or not _are_plain(named) or named["ce_subject"] != key:
        return None
    body = _body(value)
    if body is None:
        return None
    attempt, seq = body["attempt"], body["seq"]
    if (
        named["ce_attempt"] != b"%d" % attempt
        or named["ce_seq"] != b"%d" % seq
        or named["ce_time"] != body["at"].encode()
        or not _is_instant(body["at"])
    ):
        return None
    job, tenant, user = body["job"], named["ce_tenant"].decode("ascii"), named.get("ce_user")
    is_owned = _is_identifier(tenant) and (user is None or _is_identifier(user.decode("ascii")))
    if not is_owned or job.encode() != key or not may_belong(ids, job, tenant):
        return None
    place = Position(attempt, seq)
    return JobPatch(
        tenant, job, Facets(top=place, has_output=True), (StoredEvent(place, "delta", value),)
    )


def _are_plain(named: dict[str, bytes]) -> bool:
    """Whether these are our headers, all of them short and ASCII."""
    if not (_REQUIRED <= named.keys() <= _KNOWN):
        return False
    values = named.values()
    if not all(values):  # absent or empty
        return False
    text = b"".join(values)
    if len(text) > _MAX_BYTES or not text.isascii():
        return False
    return named["ce_specversion"] == b"1.0" and named["content-type"] == _JSON


def _body(value: bytes) -> dict[str, Any] | None:
    """The decoded event, if it has exactly our members in their types."""
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if type(body) is not dict or body.keys() != _MEMBERS or body["type"] != "delta":
        return None
    if type(body["job"]) is not str or type(body["at"]) is not str:
        return None
    if not (_is_number(body["attempt"], 0) and _is_number(body["seq"], 1)):
        return None
    deltas = body["deltas"]
    if type(deltas) is not list or not deltas:
        return None
    return body if all(map(_is_text, deltas)) else None


def _is_text(delta: Any) -> bool:
    return (
        type(delta) is dict
        and delta.keys() == _TEXT_MEMBERS
        and delta["type"] == "text"
        and type(delta["text"]) is str
        and _is_number(delta["choice"], 0)
    )


def _is_number(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 10**_MAX_DIGITS


def _is_instant(text: str) -> bool:
    """An instant in UTC as we write it; other forms may be valid, too."""
    if _INSTANT.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _is_identifier(text: str) -> bool:
    try:
        _IDENTIFIER.validate_python(text)
    except ValidationError:
        return False
    return True
