"""What secrets look like in text that somebody else wrote: headers, JSON, words of an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["REDACTED", "SECRET_SHAPES", "SecretShape"]

REDACTED: Final = "[redacted]"


@dataclass(frozen=True, slots=True)
class SecretShape:
    """How a kind of secret looks; `hints` are lower-case words, one of which every match holds.

    Every pattern takes time linear in the text, whatever a stranger writes into it.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str

    def cleaned(self, text: str, lower: str) -> str:
        """The text without such secrets; `lower` is the same in lower case, or was once."""
        if any(hint in lower for hint in self.hints):
            return self.pattern.sub(self.replacement, text)
        return text


_SET: Final = r"""(?:\\*["'])?\s*[=:]\s*"""
"""Between a name and its value: `: `, `=`, `": `, and in JSON inside a string `\\": `."""
_OPEN: Final = r"""(?:b?["']|\\+")?"""
_WORD: Final = r"""(?:\[redacted\]|(?![\\])[^\s"'&,;)}\]]"""
"""A value without quotes; what was redacted before is taken as a whole. Needs a count and `)`."""
_SCHEMES: Final = "bearer|basic|token|api[_-]?key|key|negotiate|ntlm|dpop|privatetoken|hoba|vapid"
_LISTING_SCHEMES: Final = r"digest|hawk|oauth|mac|signature|mutual|scram-[\w-]+|aws4-hmac-sha256"
_KEYS: Final = r"(?:api|access|private|secret|signing|encryption)[ _-]?key"
_PROSE: Final = (
    "must|should|may|can|cannot|is|was|has|have|does|do|not|no|too|the|a|an|your|for|of|"
    "required|missing|invalid|incorrect|wrong|expired|rejected|empty|unknown|field"
)
"""With these words somebody speaks about a password instead of giving one."""


def _quoted(least: int) -> str:
    """A value after its opening quote, which stays as the closing one does, spaces included."""
    return (
        rf"""(?<=\\")(?:[^\\\n]|\\++(?!")){{{least},}}|(?<!\\)(?<=")(?:[^"\\\n]|\\.){{{least},}}"""
        rf"""|(?<=')(?:[^'\\\n]|\\.){{{least},}}"""
    )


def _named(name: str, bare: str, *, least: int = 1) -> re.Pattern[str]:
    """A value under a name: in quotes with at least so many characters, in a list, or bare."""
    listed = r"""\[\s*b?\\*["'][^\]]*\]?|\{\s*b?\\*["'][^}]*\}?"""
    return re.compile(
        rf"""({name}{_SET}{_OPEN})(?:{_quoted(least)}|(?<!["'])(?:{listed}|{bare}))""",
        re.IGNORECASE,
    )


_REPLACED: Final = rf"\1{REDACTED}"

SECRET_SHAPES: Final = (
    SecretShape(
        ("-----begin",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        REDACTED,
    ),
    # Named values go first: what they hold may have a shape of its own, and is gone as a whole.
    SecretShape(
        ("authorization",),
        _named(
            "authorization",
            rf"(?:{_LISTING_SCHEMES})\s+[^\n]+|(?:{_SCHEMES})\s+{_WORD}+)"
            # Of a scheme that nobody knows, the next word is the credential if it looks like one.
            rf"|{_WORD}{{4,}})(?:[ \t]+(?:(?=\S*\d){_WORD}{{6,}})|{_WORD}{{16,}})))?",
        ),
        _REPLACED,
    ),
    SecretShape(
        ("passw", "passphrase"),
        _named(
            "(?:password|passwd|passphrase)",
            # A passphrase has several words, up to the next name, clause or sentence.
            rf"(?<=:\s)(?!(?:{_PROSE})\b){_WORD}+)"
            rf"(?:(?<![.!?])[ \t]+(?![\w.-]+\s*[=:]){_WORD}+)){{0,7}}"
            rf"|(?<!\s){_WORD}+)",
        ),
        _REPLACED,
    ),
    SecretShape(("key",), _named(_KEYS, rf"{_WORD}{{4,}})"), _REPLACED),
    SecretShape(
        ("secret", "token", "ticket", "signature"),
        _named("(?:secret|token|ticket|signature)", rf"{_WORD}{{4,}})", least=4),
        _REPLACED,
    ),
    SecretShape(  # a pair, as clients show headers
        ("authorization", "key", "token", "secret"),
        re.compile(
            rf"""([(\[]\s*b?["'](?:[\w-]*(?:authorization|token|secret)|[\w-]*{_KEYS})["']"""
            rf"""\s*,\s*b?["'])(?:{_quoted(1)})""",
            re.IGNORECASE,
        ),
        _REPLACED,
    ),
    SecretShape(  # "invalid api key 0123…": named in passing, and nobody makes such words by hand
        ("key", "token", "secret"),
        re.compile(
            rf"""\b((?:{_KEYS}|token|secret)\s+(?:(?:is|was|provided|given|value)[:\s]\s*)?["'`(<]?)"""
            r"(?=[\w.~+/=*-]*\d)[\w.~+/=*-]{20,}",
            re.IGNORECASE,
        ),
        _REPLACED,
    ),
    SecretShape(
        ("pk_",), re.compile(r"\bpk_([A-Za-z0-9]{1,64})\.[A-Za-z0-9_=-]+"), rf"pk_\1.{REDACTED}"
    ),
    SecretShape(
        ("sk-", "sk_", "rk-", "rk_", "xai-", "gsk_", "hf_", "ghp_", "glpat-", "whsec_"),
        re.compile(r"\b(?:[sr]k[-_]|xai-|gsk_|hf_|ghp_|glpat-|whsec_)[\w*./+=-]{6,}"),
        REDACTED,
    ),
    SecretShape(
        ("akia", "asia"),
        # Source: AWS, "IAM identifiers": unique id prefixes of long-lived and temporary keys.
        re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
        REDACTED,
    ),
    SecretShape(
        ("eyj",),
        re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*"),
        REDACTED,
    ),
    SecretShape(
        ("bearer", "basic"),
        re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=:-]{6,}", re.IGNORECASE),
        _REPLACED,
    ),
    SecretShape(("://",), re.compile(r"(://[^\s/:@]*:)[^\s/@]+(@)"), rf"\1{REDACTED}\2"),
)
