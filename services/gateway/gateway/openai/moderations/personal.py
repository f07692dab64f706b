"""Personal data in a text: found by form, and confirmed by check digits where there are any."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

from gateway.openai.moderations.checks import is_card_number, is_iban
from gateway.openai.moderations.pace import WINDOW, Pace

__all__ = ["KINDS", "personal_data"]

_LONGEST_MATCH: Final = 1024
"""Searched beyond a window's end: more than an address, the longest of what has a length. A secret
may be longer: its rest is none again, since it goes on without a gap."""

_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_CARD: Final = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_SSN: Final = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}"
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])"
)
_IP: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_SECRET: Final = re.compile(
    r"(?<![\w-])(?:sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----)"
)


def _always(_: str) -> bool:
    return True


def _is_card(text: str) -> bool:
    return is_card_number(re.sub(r"[ -]", "", text))


def _begins_with_account(text: str) -> bool:
    """Words in capitals after an account number are not part of it, so shorter ends count."""
    parts = text.split(" ")
    return any(is_iban("".join(parts[:end])) for end in range(len(parts), 0, -1))


def _is_public_ip(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_global
    except ValueError:
        return False


_SEEN: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...]] = (
    ("iban", _IBAN, _begins_with_account),
    ("email", _EMAIL, _always),
    ("credit_card", _CARD, _is_card),
    ("us_ssn", _SSN, _always),
    ("phone", _PHONE, _always),
    ("ip_address", _IP, _is_public_ip),
    ("secret_key", _SECRET, _always),
)

KINDS: Final = tuple(kind for kind, _, _ in _SEEN)
"""Every kind that is looked for."""


async def personal_data(text: str, pace: Pace) -> dict[str, int]:
    """How often each kind occurs; kinds that do not occur are absent. Never what was found."""
    found: Counter[str] = Counter()
    for kind, pattern, is_one in _SEEN:
        async for hit in _hits(pattern, text, pace):
            if is_one(hit):
                found[kind] += 1
    return dict(found)


async def _hits(pattern: re.Pattern[str], text: str, pace: Pace) -> AsyncIterator[str]:
    """What `finditer` finds, a window at a time."""
    at = 0
    for start in range(0, len(text), WINDOW):
        await pace.did(min(len(text) - start, WINDOW))
        end = start + WINDOW
        for hit in pattern.finditer(text, max(at, start), end + _LONGEST_MATCH):
            if hit.start() >= end:
                break
            at = hit.end()
            yield hit[0]
