"""Job ids: made without storage, checked without storage, bound to their tenant.

    job_<32 hex of a UUID><10 hex of a MAC>   issued by a gateway
    job_<32 hex of a SHA-256>                 derived from an event that another service produced

The MAC covers tenant and UUID under the deployment's id secret. So a gateway tells "accepted but
not folded yet" (valid MAC) from "never issued" and from "another tenant's" (invalid MAC) without a
look-up.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from uuid import UUID

from penstock_contracts.mac import hmac_sha256

__all__ = [
    "JobIds",
    "derived_job_id",
    "is_derived_job_id",
    "is_job_id",
    "issued_at",
    "may_come_again",
    "new_uuid7",
]

_MAC_HEX = 10
"""40 bits: a guess is right once in 10^12, and only yields `queued` in one's own tenant."""
_DERIVED_CHARS = len("job_") + 32
_ISSUED_CHARS = _DERIVED_CHARS + _MAC_HEX
_VERSION_AT = len("job_") + 12
"""Place of a UUID's version among its hex digits."""
_UUID7 = 7
_FORM = re.compile(r"job_[0-9a-f]{32}(?:[0-9a-f]{10})?")


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job id, issued or derived."""
    return _FORM.fullmatch(text) is not None


def is_derived_job_id(text: str) -> bool:
    """Whether `text` has the form of a derived id, which proves nothing: anybody can make one."""
    return len(text) == _DERIVED_CHARS and is_job_id(text)


def may_come_again(job_id: str) -> bool:
    """Whether asking for the job once more gives the same id: it follows from a key or an event.

    False: a gateway made the id of a UUIDv7, as `new_uuid7` does, for this one request.
    """
    return len(job_id) == _DERIVED_CHARS or job_id[_VERSION_AT] != str(_UUID7)


def issued_at(job_id: str) -> datetime | None:
    """When an issued id was made; None if it stands for an Idempotency-Key."""
    uuid = UUID(hex=job_id[4:36])
    if uuid.version != _UUID7:
        return None
    try:
        return datetime.fromtimestamp((uuid.int >> 80) / 1000, tz=timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None


def derived_job_id(*, tenant: str, source: str, event_id: str) -> str:
    """The id of a job that came as a Kafka event: the same event always gives the same job.

    In any language: `job_` + first 32 hex digits of SHA-256 over `tenant LF source LF event id`.
    """
    text = f"{tenant}\n{source}\n{event_id}"
    return "job_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def new_uuid7(*, now_ms: int, randomness: bytes) -> UUID:
    """A UUIDv7: sortable by time. `randomness` is 10 random bytes.

    Source: RFC 9562, section 5.7.
    """
    value = (now_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(randomness[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


@dataclass(frozen=True, slots=True)
class JobIds:
    """Issues and checks job ids under one secret; gateways and workers of a deployment share it."""

    secret: bytes

    def issue(self, *, tenant: str, uuid: UUID) -> str:
        """A new id; `uuid` is of `new_uuid7` or, for idempotent submits, of `uuid_for_key`."""
        return f"job_{uuid.hex}{self._mac(tenant, uuid.hex)}"

    def uuid_for_key(self, *, tenant: str, route: str, key: str) -> UUID:
        """The UUID that an Idempotency-Key stands for: repetitions give the same job."""
        text = f"idempotency\n{tenant}\n{route}\n{key}".encode()
        digest = hmac_sha256(self.secret, text)[:16]
        value = int.from_bytes(digest, "big")
        value = value & ~(0xF << 76) | 0x8 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        return UUID(int=value)

    def was_issued(self, job_id: str, *, tenant: str) -> bool:
        """Whether a gateway of this deployment issued the id for this tenant."""
        if len(job_id) != _ISSUED_CHARS or not is_job_id(job_id):
            return False
        return hmac.compare_digest(job_id[36:], self._mac(tenant, job_id[4:36]))

    def _mac(self, tenant: str, uuid_hex: str) -> str:
        text = f"job\n{tenant}\n{uuid_hex}".encode()
        return hmac_sha256(self.secret, text).hex()[:_MAC_HEX]
