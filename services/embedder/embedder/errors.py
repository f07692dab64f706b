"""What can go wrong in the embedder, and what then becomes of the job.

PenstockError
├── Retryable
│   ├── ModelAway          the endpoint does not answer or says slow down: the batch's jobs retry
│   ├── ModelFault         the model failed on a text for no reason that we know: its job retries
│   └── StoreAway          Qdrant does not answer: the job retries
├── Rejected
│   ├── UnusableText       empty, too long, or the model gives no vector: the job fails
│   ├── UnsupportedOption  the model or the store cannot do what the input asks: the job fails
│   └── DimensionMismatch  the collection is for another length or model: the job fails
└── Fatal
    ├── ModelMissing       the weights are not where the settings say: no start
    └── StoreLocked        another process holds the local Qdrant folder: no start
"""

from __future__ import annotations

from penstock_kit.errors import Fatal, Rejected, Retryable

__all__ = [
    "DimensionMismatch",
    "ModelAway",
    "ModelFault",
    "ModelMissing",
    "StoreAway",
    "StoreLocked",
    "UnsupportedOption",
    "UnusableText",
    "unknown_token",
]


class ModelAway(Retryable):
    """Raised by model adapters when no text is to blame; every job of the batch is tried again.

    Attributes:
        answer: what the endpoint said, as it came, cut; for dead letters only, never for clients.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, answer: str = ""
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.answer = answer


class ModelFault(Retryable):
    """Raised by the batcher for the one text on which the model broke; its batch goes on."""


class StoreAway(Retryable):
    """Raised by store adapters when the server does not answer; the job is tried again."""


class UnusableText(Rejected):
    """Raised where a text cannot become a vector; the job fails and `field` names the text.

    Attributes:
        index: the text's place in its input, from 0; None where there is only one.
    """

    def __init__(
        self, message: str, *, code: str, field: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message, code=code, field=field)
        self.index = index


def unknown_token(index: int, token: int, *, vocabulary: int) -> UnusableText:
    """The error for a token list with an id that no token has."""
    field = f"input.tokens.{index}"
    return UnusableText(
        f"{field}: token {token} is not in the model's vocabulary of {vocabulary} tokens; send "
        "ids of this model's own tokenizer, or the text itself",
        code="unknown_token",
        field=field,
        index=index,
    )


class UnsupportedOption(Rejected):
    """Raised for options that this deployment's model or store cannot serve; the job fails."""


class DimensionMismatch(Rejected):
    """Raised by stores when a collection cannot hold these vectors; the job fails."""


class ModelMissing(Fatal):
    """Raised at start when the model's files are not there; the message says what to do."""


class StoreLocked(Fatal):
    """Raised at start when the local store is in use; the message says what to do instead."""
