"""One line of an input file: `{custom_id, method, url, body}`, checked as the live endpoint would.

A problem quotes nothing of the line but a short custom_id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

from penstock_contracts.batches import BatchProblem
from penstock_contracts.codec import decode_json
from penstock_contracts.errors import MalformedJson
from penstock_kit.auth.principal import Principal

from gateway.errors import ApiError
from gateway.openai.asking import Ask
from gateway.openai.batches.lines import RawLine
from gateway.openai.batches.patience import patiently
from gateway.openai.ending import Ending

__all__ = [
    "LineChecker",
    "LineFault",
    "LineJob",
    "LineTranslator",
    "NewLine",
    "ReadLine",
    "TellAnswer",
]

_FIELDS = ("custom_id", "method", "url", "body")
_MAX_ID_CHARS = 512
_QUOTED_CHARS = 64


TellAnswer = Callable[[str, datetime, Ending], dict[str, Any]]
"""The object that the live endpoint would answer with, from job id, creation time and ending.
Raises `ApiError` where the job ended without an answer."""


@dataclass(frozen=True, slots=True)
class LineJob:
    """What the body of a line stands for."""

    ask: Ask
    tell: TellAnswer


class LineTranslator(Protocol):
    """Turns the body of a line into a job, exactly as the live endpoint does."""

    async def understand(
        self, endpoint: str, principal: Principal, body: dict[str, Any]
    ) -> LineJob:
        """The job that a body stands for, and how its answer is told.

        Raises:
            ApiError: what the endpoint would answer.
        """
        ...

    async def retell(self, endpoint: str, principal: Principal, body: dict[str, Any]) -> TellAnswer:
        """How the answer to a body is told that has become a job long ago.

        Needs nothing of what the body leads to: a response that it goes on from may be deleted.

        Raises:
            ApiError: the deployment does not serve such bodies any more.
        """
        ...


class LineFault(Exception):
    """A line cannot be used; `problem` says why, as the batch shows it."""

    def __init__(self, problem: BatchProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line whose answer can be told."""

    number: int
    custom_id: str
    tell: TellAnswer


@dataclass(frozen=True, slots=True)
class NewLine(ReadLine):
    """A line that may become a job."""

    ask: Ask


class LineChecker:
    """Checks the lines of one batch in order: ids differ, models do not."""

    def __init__(self, translator: LineTranslator, *, endpoint: str, principal: Principal) -> None:
        self._translator = translator
        self._endpoint = endpoint
        self._principal = principal
        self._seen: set[bytes] = set()
        self.model: str | None = None

    async def check(self, line: RawLine) -> NewLine:
        """Read a line and compare it with those before; waits for what is away.

        Raises:
            LineFault: what is wrong with it.
        """
        custom_id, body = self._opened(line)
        # 50,000 ids of half a kilobyte would be 25 MB; their hashes are not.
        mark = blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if mark in self._seen:
            shown = custom_id if len(custom_id) <= _QUOTED_CHARS else "of this line"
            message = (
                f"The custom_id '{shown}' was used by an earlier line; "
                "every line of a batch needs its own."
            )
            raise _fault(line, "duplicate_custom_id", message, "custom_id")
        self._seen.add(mark)
        read = await self._translated(line, custom_id, body)
        self._compare_model(line, body)
        return read

    async def read(self, line: RawLine) -> NewLine:
        """Read a line that was checked before; waits for what is away.

        Raises:
            LineFault: the deployment does not take it any more.
        """
        custom_id, body = self._opened(line)
        return await self._translated(line, custom_id, body)

    async def reread(self, line: RawLine) -> ReadLine:
        """Read a line that has become a job.

        Raises:
            LineFault: the deployment does not know such lines any more.
        """
        custom_id, body = self._opened(line)
        retell = self._translator.retell
        try:
            tell = await patiently(lambda: retell(self._endpoint, self._principal, body))
        except ApiError as error:
            raise _refused(line, error) from None
        return ReadLine(line.number, custom_id, tell)

    def custom_id(self, line: RawLine) -> str:
        """The id of a line that was checked before, without looking at its body."""
        return self._opened(line)[0]

    def _opened(self, line: RawLine) -> tuple[str, dict[str, Any]]:
        if line.raw is None:
            raise _fault(line, "line_too_long", "This line is longer than a request may be.")
        try:
            value = decode_json(line.raw)
        except MalformedJson:
            raise _fault(
                line, "invalid_json_line", "This line is not parseable as valid JSON."
            ) from None
        if not isinstance(value, dict):
            raise _fault(line, "invalid_json_line", "This line is not a JSON object.")
        for name in _FIELDS:
            if name not in value:
                message = f"Missing required parameter: '{name}'."
                raise _fault(line, "missing_required_parameter", message, name)
        for name in value:
            if name not in _FIELDS:
                message = f"Unknown parameter: '{name[:_QUOTED_CHARS]}'."
                raise _fault(line, "unknown_parameter", message, name[:_QUOTED_CHARS])
        return self._custom_id(line, value["custom_id"]), self._body(line, value)

    def _custom_id(self, line: RawLine, custom_id: Any) -> str:
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _MAX_ID_CHARS:
            message = f"The custom_id must be a string of 1 to {_MAX_ID_CHARS} characters."
            raise _fault(line, "invalid_custom_id", message, "custom_id")
        return custom_id

    def _body(self, line: RawLine, value: dict[str, Any]) -> dict[str, Any]:
        if value["method"] != "POST":
            message = "The method of every line must be 'POST'."
            raise _fault(line, "invalid_method", message, "method")
        if value["url"] != self._endpoint:
            message = (
                "The URL of this line does not match the batch: every line of this one goes to "
                f"'{self._endpoint}'."
            )
            raise _fault(line, "url_mismatch", message, "url")
        body = value["body"]
        if not isinstance(body, dict):
            message = "Invalid type for 'body': expected an object."
            raise _fault(line, "invalid_type", message, "body")
        for name in ("stream", "background"):
            if body.get(name):
                message = f"'{name}' makes no sense in a batch: leave it out."
                raise _fault(line, "unsupported_value", message, f"body.{name}")
        return body

    async def _translated(self, line: RawLine, custom_id: str, body: dict[str, Any]) -> NewLine:
        understand = self._translator.understand
        try:
            job = await patiently(lambda: understand(self._endpoint, self._principal, body))
        except ApiError as error:
            raise _refused(line, error) from None
        return NewLine(line.number, custom_id, job.tell, job.ask)

    def _compare_model(self, line: RawLine, body: dict[str, Any]) -> None:
        model = body.get("model")
        if not isinstance(model, str):
            return
        if self.model is None:
            self.model = model
        elif model != self.model:
            message = (
                f"The model '{model[:_QUOTED_CHARS]}' differs from '{self.model[:_QUOTED_CHARS]}' "
                "of the lines before; a batch has one model."
            )
            raise _fault(line, "model_mismatch", message, "body.model")


def _refused(line: RawLine, error: ApiError) -> LineFault:
    param = error.details.param
    where = "body" if param is None else f"body.{param}"
    return _fault(line, error.kind.code, error.detail, where)


def _fault(line: RawLine, code: str, message: str, param: str | None = None) -> LineFault:
    return LineFault(BatchProblem(code=code, message=message, line=line.number, param=param))
