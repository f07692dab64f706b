"""What moderation needs: somebody who judges texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from penstock_kit.errors import Rejected, Retryable

__all__ = ["Judgement", "ModerationRefused", "ModeratorAway", "Moderator", "Verdict"]


class ModeratorAway(Retryable):
    """Who judges does not answer, or is overloaded. The same request may succeed later."""


class ModerationRefused(Rejected):
    """Who judges does not take the request: the same one never succeeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one text contains.

    Attributes:
        scores: every category that the model knows, 0 to 1.
        flagged: the categories that are found in it.
        pii: personal data by kind, and how often; empty where nobody looked.
    """

    scores: Mapping[str, float]
    flagged: frozenset[str]
    pii: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict per text, in the order of the texts, and the model that gave them."""

    model: str
    verdicts: Sequence[Verdict]


class Moderator(Protocol):
    """Judges texts. The same text gets the same verdict, whatever stands beside it."""

    async def judge(self, texts: Sequence[str], *, model: str | None) -> Judgement:
        """Judge each text; `model` None is the moderator's own choice.

        Raises:
            ModerationRefused: `code` is `model_not_found` or `upstream_refused`.
            ModeratorAway: again later.
        """
        ...

    async def close(self) -> None:
        """Close all connections; works twice."""
        ...
