"""What a call shall meet, read from the model name or from the last user message.

One grammar for both: `name=value` pairs joined by `;`. In a model name they follow `fake:`
(`fake:tokens=20;status=429`), in a message they stand in double brackets (`[[tokens=20;cut=5]]`).
The message wins over the model, the model over the server's defaults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["BadScript", "Script", "read_script"]

_MARKER = re.compile(r"\[\[([a-z_]+=[^\]]*)\]\]")


class BadScript(ValueError):
    """A directive is unknown or cannot have its value; the server answers 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Every directive with its default.

    Numbers count tokens unless the name carries a unit; -1 means off.

    Attributes:
        tokens: how many content tokens the answer has (`max_tokens` of the request caps it).
        ttft_ms: pause before the first token.
        rate: tokens per second after the first; 0 = no pacing.
        chars: characters per token.
        times: faults happen in the first `times` calls only (of the same job, else of the same
        first user
            message); 0 = always.
        status: answer with this HTTP status instead (not charged).
        retry_after: `Retry-After` header of that answer, in seconds.
        redirect: `Location` of a 302 answer (not charged).
        hang: 0 = never answer anything; n = fall silent after n - 1 tokens.
        cut: reset the connection after this many tokens.
        end: end the response cleanly after this many tokens, without finish reason, usage and
        `[DONE]`. malformed: after this many tokens send a line that is no JSON, then go on.
        garbage: after this many tokens send bytes that are no event stream, then go on.
        error: after this many tokens send an `error` object in the stream and end.
        loris_ms: send the response byte by byte with this pause.
        flood_bytes: send this many bytes of tokens as fast as the reader takes them.
        huge_bytes: one token of this many bytes comes first.
        line_bytes: one line of this many bytes without an end comes first.
        mute: 1 = the answer has no choice: usage and `[DONE]` alone.
        tools: how many tool calls the answer makes (instead of content).
        reasoning: how many reasoning tokens come first.
        refusal: 1 = the content is a refusal.
        usage: 0 = the provider sends no usage.
        json: `valid`, `fenced`, `invalid`, `mismatch`, or `second` (invalid in the first call,
        then valid). echo: 1 = the answer repeats the last user message.
        finish: finish reason of the answer.
    """

    tokens: int = 20
    ttft_ms: float = 20.0
    rate: float = 100.0
    chars: int = 4
    times: int = 0
    status: int = 200
    retry_after: float = -1.0
    redirect: str = ""
    hang: int = -1
    cut: int = -1
    end: int = -1
    malformed: int = -1
    garbage: int = -1
    error: int = -1
    loris_ms: float = 0.0
    flood_bytes: int = 0
    huge_bytes: int = 0
    line_bytes: int = 0
    mute: int = 0
    tools: int = 0
    reasoning: int = 0
    refusal: int = 0
    usage: int = 1
    json: str = ""
    echo: int = 0
    finish: str = ""

    def without_faults(self) -> Script:
        """The same answer, without what `times` limits."""
        return replace(self, **{name: _DEFAULTS[name] for name in _FAULTS})

    def with_directives(self, text: str) -> Script:
        """This script with the directives of `text` laid over it.

        Raises:
            BadScript: an unknown directive, or a value that does not fit.
        """
        changes: dict[str, Any] = {}
        for pair in filter(None, text.split(";")):
            name, _, value = pair.strip().partition("=")
            if name not in _DEFAULTS:
                known = ", ".join(_DEFAULTS)
                raise BadScript(f"unknown directive {name!r}; known: {known}")
            try:
                changes[name] = type(_DEFAULTS[name])(value)
            except ValueError:
                raise BadScript(f"directive {name!r} cannot be {value!r}") from None
        return replace(self, **changes)


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Script)}
_FAULTS = (
    "status",
    "retry_after",
    "redirect",
    "hang",
    "cut",
    "end",
    "malformed",
    "garbage",
    "error",
    "loris_ms",
    "flood_bytes",
    "huge_bytes",
    "line_bytes",
    "mute",
)


def read_script(defaults: Script, *, model: str, message: str) -> Script:
    """The script of a call.

    Raises:
        BadScript: see `Script.with_directives`.
    """
    script = defaults
    if model.startswith("fake:"):
        script = script.with_directives(model.removeprefix("fake:"))
    for marker in _MARKER.findall(message):
        script = script.with_directives(marker)
    return script
