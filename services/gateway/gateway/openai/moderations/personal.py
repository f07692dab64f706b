"""Personal data in a text: found by form, and confirmed by check digits where there are any."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from gateway.openai.moderations.checks import is_card_number, is_iban

__all__ = ["KINDS", "personal_data"]

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


def _is_public_ip(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_global
    except ValueError:
        return False


_SEEN: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...]] = (
    ("email", _EMAIL, _always),
    ("credit_card", _CARD, _is_card),
    ("us_ssn", _SSN, _always),
    ("phone", _PHONE, _always),
    ("ip_address", _IP, _is_public_ip),
    ("secret_key", _SECRET, _always),
)

KINDS: Final = ("iban", *(kind for kind, _, _ in _SEEN))
"""Every kind that is looked for."""


def personal_data(text: str) -> dict[str, int]:
    """How often each kind occurs; kinds that do not occur are absent. Never what was found."""
    found: Counter[str] = Counter()
    accounts = sum(1 for _ in _accounts(text))
    if accounts:
        found["iban"] = accounts
    for kind, pattern, is_one in _SEEN:
        hits = sum(1 for hit in pattern.finditer(text) if is_one(hit[0]))
        if hits:
            found[kind] = hits
    return dict(found)


def _accounts(text: str) -> Iterator[str]:
    """Account numbers; words in capitals after one are not part of it, so shorter ends count."""
    for hit in _IBAN.finditer(text):
        parts = hit[0].split(" ")
        while parts:
            account = "".join(parts)
            if is_iban(account):
                yield account
                break
            parts.pop()
