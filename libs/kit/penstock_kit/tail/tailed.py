"""A job event as the tail hands it on: its place from key and headers, its value untouched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from penstock_contracts.catalog import ce_event_type
from penstock_contracts.events import EVENT_MODELS, TERMINAL, Position
from penstock_contracts.ids import is_job_id

from penstock_kit.errors import Rejected
from penstock_kit.tenancy import TenantScope

__all__ = ["MalformedEvent", "TailedEvent", "read_event"]

_TYPES: Final = {ce_event_type(name).encode(): name for name in EVENT_MODELS}
_MAX_DIGITS: Final = 10
"""Attempt and seq are small; longer digits would only cost time."""


class MalformedEvent(Rejected):
    """The record is no job event: the tail counts and skips it, as the recorder does."""


@dataclass(frozen=True, slots=True)
class TailedEvent:
    """One job event. `value` is the event's JSON exactly as it is in the log.

    Attributes:
        type: the event's short name, for example `delta`.
        user: None where the job belongs to the tenant as a whole.
    """

    job: str
    position: Position
    type: str
    tenant: str
    user: str | None
    value: bytes

    @property
    def is_terminal(self) -> bool:
        """Whether the job ends with this event."""
        return self.type in TERMINAL

    def is_in(self, scope: TenantScope) -> bool:
        """Whether this event may be shown to the holder of the scope."""
        return scope.may_see(tenant=self.tenant, user=self.user)


def read_event(
    key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None
) -> TailedEvent:
    """The event in a record of `ai.jobs.events.v1`; the value is looked at from outside only.

    Raises:
        MalformedEvent: key or headers do not form a job event, or the value cannot be a JSON
        object.
    """
    named = dict(headers)
    kind = _TYPES.get(named.get("ce_type") or b"")
    if kind is None:
        raise MalformedEvent("ce_type names no job event", code="unknown_type", field="ce_type")
    if not value or value[:1] != b"{" or value[-1:] != b"}":
        raise MalformedEvent("the value is no JSON object", code="malformed_json")
    try:
        job = (key or b"").decode("ascii")
        tenant = named["ce_tenant"].decode("ascii")
        user = named.get("ce_user")
        if not value.isascii():
            value.decode()
        event = TailedEvent(
            job,
            Position(_number(named["ce_attempt"]), _number(named["ce_seq"])),
            kind,
            tenant,
            user.decode("ascii") if user else None,
            value,
        )
    except KeyError as error:
        name = str(error.args[0])
        raise MalformedEvent(f"{name} is missing", code="missing_header", field=name) from None
    except AttributeError:
        raise MalformedEvent("a header has no value", code="missing_header") from None
    except UnicodeDecodeError:
        raise MalformedEvent("key, header or value is not text", code="not_utf8") from None
    if not tenant or not is_job_id(job):
        raise MalformedEvent("the key is no job id, or the tenant is empty", code="bad_key")
    if named.get("ce_subject") != key or b'"job":"%b"' % (key or b"") not in value:
        raise MalformedEvent("ce_subject or the value contradict the key", code="contradiction")
    return event


def _number(raw: bytes) -> int:
    if not raw.isdigit() or len(raw) > _MAX_DIGITS:
        raise MalformedEvent("ce_attempt or ce_seq is no whole number", code="bad_number")
    return int(raw)
