"""Where a direct producer wants to hear of its job's end: Kafka's `reply-to` and `correlation-id`.

The topic names the tenant, so that nobody can write into another one's replies:
`ai.replies.<name>.<tenant>`, with a name of the producer's choice.
Source: the headers are those of Zilla's request-response over Kafka.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock_contracts.errors import ContractError

__all__ = ["CORRELATION_ID", "REPLY_TO", "BadReplyTo", "ReplyAddress", "reply_topic"]

REPLY_TO: Final = "reply-to"
CORRELATION_ID: Final = "correlation-id"
_PREFIX: Final = "ai.replies."
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_MAX_CORRELATION_CHARS: Final = 1024


class BadReplyTo(ContractError):
    """The job asks for a reply where none may be written."""

    code = "bad_reply_to"


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """A topic of the tenant's, and what the producer recognises its reply by."""

    topic: str
    correlation: str | None = None

    def check(self, tenant: str) -> None:
        """Prove that a job of this tenant may be replied to here.

        Raises:
            BadReplyTo: it may not.
        """
        name, _, owner = self.topic.removeprefix(_PREFIX).partition(".")
        is_reply_topic = self.topic.startswith(_PREFIX) and _NAME.fullmatch(name) is not None
        if not is_reply_topic or owner != tenant or _TOPIC.fullmatch(self.topic) is None:
            raise BadReplyTo(
                "reply-to must be ai.replies.<name>.<tenant>: a name of your choice (lower case,"
                " digits, - and _), then the job's own tenant, which must consist of letters,"
                " digits, '.', '_' and '-' for that",
                field=REPLY_TO,
            )
        if self.correlation is not None and len(self.correlation) > _MAX_CORRELATION_CHARS:
            raise BadReplyTo(
                f"correlation-id is longer than {_MAX_CORRELATION_CHARS} characters",
                field=CORRELATION_ID,
            )


def reply_topic(name: str, tenant: str) -> str:
    """The topic of a producer's replies.

    Raises:
        BadReplyTo: name or tenant cannot be part of a topic.
    """
    topic = f"{_PREFIX}{name}.{tenant}"
    ReplyAddress(topic).check(tenant)
    return topic
