"""What can go wrong between a job and its answer.

ProviderFault (Retryable)       the provider failed us; the attempt loop decides, lanes never see it
├── Transient                   the same call may succeed later: 429, 5xx, cut or silent streams
└── Permanent                   this provider will never answer this call: the next model may
BadAnswer                       the answer is complete, but not what was asked for (invalid JSON)
BadProvidersFile (Fatal)        providers.yaml cannot be used
"""

from __future__ import annotations

from penstock_kit.errors import Fatal, PenstockError, Retryable

__all__ = [
    "BadAnswer",
    "BadProvidersFile",
    "Permanent",
    "ProviderFault",
    "Transient",
]


class ProviderFault(Retryable):
    """Raised by provider adapters only; leads to another attempt, a fallback or `failed`.

    The message is ours, never the provider's: that one may quote prompts or keys.

    Attributes:
        code: stable snake-case name, a bounded set (docs in services/llm-worker/README.md).
        status: HTTP status of the provider, if there was one.
        was_charged: the provider may have begun to work, and to bill: what it did is booked.
        was_refused: it surely did no work, so that the call may be repeated whatever the job's
            charge. A bare 500 is neither: nothing is booked, and nobody knows.
        param: the request's field that the provider objects to, if it names one.
        answer: what the provider said, as it came, cut; for dead letters only, never for clients.
    """

    kind = "server_error"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        was_charged: bool,
        was_refused: bool | None = None,
        retry_after_s: float | None = None,
        kind: str | None = None,
        param: str | None = None,
        answer: str = "",
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.code = code
        self.status = status
        self.was_charged = was_charged
        self.was_refused = not was_charged if was_refused is None else was_refused
        self.kind = kind or type(self).kind
        self.param = param
        self.answer = answer


class Transient(ProviderFault):
    """The same call may succeed after a pause."""


class Permanent(ProviderFault):
    """The same call will fail again; another model or provider may take it."""

    kind = "invalid_request_error"


class BadAnswer(PenstockError):
    """Raised when a complete answer breaks the format that was asked for; one repair follows.

    Attributes:
        code: `answer_not_json` or `answer_breaks_schema`.
        text: the answer, for the repair call; never logged.
    """

    def __init__(self, message: str, *, code: str, text: str) -> None:
        super().__init__(message)
        self.code = code
        self.text = text


class BadProvidersFile(Fatal):
    """Raised at start-up; the message shows what to write."""
