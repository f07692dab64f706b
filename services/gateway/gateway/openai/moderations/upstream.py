"""The other moderator: any endpoint that speaks OpenAI's `POST /moderations`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.openai.moderations.ports import Judgement, ModerationRefused, ModeratorAway, Verdict

__all__ = ["UpstreamEntry", "UpstreamModerator"]

_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_UNKNOWN_MODEL: Final = frozenset({"model_not_found", "unknown_model"})
_REFUSED: Final = frozenset({400, 404, 413, 422})
"""What is wrong with the request itself; 401 and 403 are wrong with our key: a matter of ours."""

Score = Annotated[float, Field(ge=0, le=1)]


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    categories: dict[str, bool | None]
    category_scores: dict[str, Score | None]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str
    results: list[_Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEntry:
    """Where the upstream is. `url` ends before `/moderations`, as the base URL of an SDK."""

    url: str
    api_key: str | None
    timeout: timedelta


class UpstreamModerator:
    """Implements `Moderator`. One call per request; nothing is tried twice here."""

    def __init__(self, entry: UpstreamEntry) -> None:
        self._entry = entry
        self._session: aiohttp.ClientSession | None = None

    async def judge(self, texts: Sequence[str], *, model: str | None) -> Judgement:
        """Judge each text; see the port."""
        body = {"input": list(texts), **({} if model is None else {"model": model})}
        raw = await self._post(orjson.dumps(body), model)
        try:
            answer = _Answer.model_validate_json(raw)
        except ValidationError as error:
            raise ModeratorAway(_UNREADABLE) from error
        if len(answer.results) != len(texts):
            raise ModeratorAway(_UNREADABLE)
        return Judgement(answer.model, [_verdict(result) for result in answer.results])

    async def close(self) -> None:
        """Close all connections; works twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes, model: str | None) -> bytes:
        address = f"{self._entry.url.rstrip('/')}/moderations"
        try:
            async with self._open().post(address, data=body, allow_redirects=False) as reply:
                raw = await _body(reply)
                if reply.status == 200:  # noqa: PLR2004 - HTTP
                    return raw
                raise _fault(reply.status, raw, reply.headers.get("retry-after"), model)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = f"the moderation upstream does not answer ({type(error).__name__})"
            raise ModeratorAway(message) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"content-type": "application/json"}
            if self._entry.api_key is not None:
                headers["authorization"] = f"Bearer {self._entry.api_key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._entry.timeout.total_seconds()),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


_UNREADABLE: Final = "the moderation upstream answered something that is no moderation"


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    """All of it; one read of the stream gives only what has arrived."""
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > _MAX_ANSWER_BYTES:
            raise ModeratorAway(
                f"the moderation upstream sends more than {_MAX_ANSWER_BYTES} bytes; "
                "check that its URL is that of a moderation API"
            )
    return bytes(body)


def _verdict(result: _Result) -> Verdict:
    return Verdict(
        scores={name: score or 0.0 for name, score in result.category_scores.items()},
        flagged=frozenset(name for name, is_found in result.categories.items() if is_found),
    )


def _fault(
    status: int, raw: bytes, retry_after: str | None, model: str | None
) -> ModerationRefused | ModeratorAway:
    """What a status means; nothing of the upstream's own words is passed on but its code."""
    if status in _REFUSED:
        if _code(raw) in _UNKNOWN_MODEL:
            message = f"model {model!r} is not known to the moderation upstream"
            return ModerationRefused(message, code="model_not_found", field="model")
        message = f"the moderation upstream refuses the request (HTTP {status})"
        return ModerationRefused(message, code="upstream_refused")
    wait_s = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    message = f"the moderation upstream cannot judge now (HTTP {status})"
    return ModeratorAway(message, retry_after_s=wait_s)


def _code(raw: bytes) -> str | None:
    try:
        code = orjson.loads(raw)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        return None
    return code if isinstance(code, str) else None
