"""HTTP in: texts come, verdicts go."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from starlette.requests import Request

from gateway.errors import ApiError
from gateway.http import Answer
from gateway.openai.moderations.models import ModerationBody, moderation, texts_of
from gateway.openai.moderations.ports import ModerationRefused, Moderator, ModeratorAway
from gateway.openai.reading import BodyReader
from gateway.openai.strict import read_body_as

__all__ = ["ModerationEndpoints"]

_RETRY_S = 2.0


class ModerationEndpoints:
    """`/v1/moderations`. No job: the answer is there at once, and nothing is kept."""

    def __init__(
        self, *, reader: BodyReader, moderator: Moderator, randomness: Callable[[int], bytes]
    ) -> None:
        self._reader = reader
        self._moderator = moderator
        self._randomness = randomness

    async def create_moderation(self, request: Request) -> Answer:
        """`POST /v1/moderations`."""
        self._reader.caller(request)
        body = read_body_as(ModerationBody, await self._reader.read(request))
        try:
            judgement = await self._moderator.judge(texts_of(body), model=body.model)
        except ModerationRefused as error:
            _refuse(error)
        except ModeratorAway as error:
            raise ApiError(
                "moderation_unavailable", str(error), retry_after_s=error.retry_after_s or _RETRY_S
            ) from error
        moderation_id = f"modr-{self._randomness(12).hex()}"
        return Answer.of(200, moderation(moderation_id, judgement, asked=body.model))


def _refuse(error: ModerationRefused) -> NoReturn:
    code = "model_not_found" if error.code == "model_not_found" else "moderation_refused"
    raise ApiError(code, str(error), param=error.field) from error
