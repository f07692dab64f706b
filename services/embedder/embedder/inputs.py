"""From a verified request to the input of its task."""

from __future__ import annotations

from typing import Any

from penstock_contracts.codec import decode_json, first_problem
from penstock_contracts.errors import MalformedJson
from penstock_contracts.requests import EmbedInput, IngestInput, SearchInput, TaskKind
from penstock_kit.blobs.store import BlobStore
from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest
from pydantic import ValidationError

from embedder.errors import UnsupportedOption

__all__ = ["Input", "InputReader"]

Input = EmbedInput | IngestInput | SearchInput

_MODELS: dict[TaskKind, type[Input]] = {
    TaskKind.EMBED: EmbedInput,
    TaskKind.INGEST: IngestInput,
    TaskKind.SEARCH: SearchInput,
}


class InputReader:
    """Reads and checks inputs, in the event or behind a claim check."""

    def __init__(self, *, blobs: BlobStore, model: str) -> None:
        self._blobs = blobs
        self._model = model

    async def read(self, request: VerifiedRequest) -> Input:
        """The input by the task's kind.

        Raises:
            Rejected: it has another shape, or asks for a model that this deployment does not have.
            Retryable: the blob store is away.
        """
        shape = _MODELS.get(request.kind)
        if shape is None:
            raise UnsupportedOption(
                f"task {request.task!r} is of kind {request.kind.value!r}, which the embedder does "
                "not run; correct its group in the tasks file",
                code="wrong_worker",
                field="task",
            )
        asked = request.request.model
        if asked is not None and asked != self._model:
            raise UnsupportedOption(
                f"model {asked!r} is not served; this deployment embeds with {self._model!r}, so "
                "leave model out or name that one",
                code="unknown_model",
                field="model",
            )
        raw = await self._raw(request)
        try:
            return shape.model_validate(raw)
        except ValidationError as error:
            problem = first_problem(error)
            field = f"input.{problem.field}" if problem.field else "input"
            raise Rejected(f"input: {problem}", code=problem.code, field=field) from None

    async def _raw(self, request: VerifiedRequest) -> Any:
        if request.request.input_ref is None:
            return request.request.input
        body = await self._blobs.get(request.scope, request.request.input_ref)
        try:
            return decode_json(body)
        except MalformedJson as error:
            raise Rejected(
                f"the input behind input_ref: {error}", code="malformed_json", field="input_ref"
            ) from error
