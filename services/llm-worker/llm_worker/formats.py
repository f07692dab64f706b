"""Output formats of `generate`: what the model is told, and what its answer must be."""

from __future__ import annotations

import re
from typing import Any

import orjson
from penstock_contracts.codec import decode_json
from penstock_contracts.errors import MalformedJson
from penstock_contracts.parts import Choice, GenerateOutput
from penstock_contracts.requests import GenerateInput
from penstock_kit.errors import Rejected

from llm_worker.errors import BadAnswer

__all__ = ["check_schema", "generated", "instruction", "repair_request"]

_FENCED = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_MAX_JSON_BYTES = 8 * 1024 * 1024


def instruction(asked: GenerateInput) -> str | None:
    """What the model is told about the format; None for plain text."""
    if asked.format == "json":
        text = "Answer with one JSON value and nothing else: no explanation, no code fence."
        if asked.json_schema is not None:
            schema = orjson.dumps(asked.json_schema).decode()
            text += f" It must satisfy this JSON Schema: {schema}"
        return text
    if asked.format == "markdown":
        return "Answer in Markdown."
    if asked.format == "html":
        return "Answer with an HTML fragment and nothing else: no explanation, no code fence."
    return None


def generated(asked: GenerateInput, choice: Choice) -> GenerateOutput:
    """The job's output.

    Text, Markdown and HTML are returned as the model wrote them: nothing is sanitised, so whoever
    renders them must treat them as untrusted. JSON is parsed, without its code fence.

    Raises:
        BadAnswer: format json, and the answer is no JSON or breaks the schema.
    """
    value = _parsed(choice.text, asked.json_schema) if asked.format == "json" else None
    return GenerateOutput(
        format=asked.format, text=choice.text, value=value, finish_reason=choice.finish_reason
    )


def check_schema(schema: dict[str, Any] | None) -> None:
    """Refuse a schema that nothing could be checked against.

    Raises:
        Rejected: `bad_json_schema`.
    """
    if schema is None:
        return
    try:
        _validator(schema)
    except ValueError as error:
        raise Rejected(
            "input.json_schema is no usable JSON Schema (draft 2020-12 unless $schema says "
            "otherwise; references must stay inside it, patterns must not look around); correct it",
            code="bad_json_schema",
            field="input.json_schema",
        ) from error


def repair_request(fault: BadAnswer) -> list[dict[str, Any]]:
    """Messages to add for the repair call."""
    return [
        {"role": "assistant", "content": fault.text},
        {
            "role": "user",
            "content": f"That cannot be used: {fault}. Answer again, with the corrected JSON only.",
        },
    ]


def _parsed(text: str, schema: dict[str, Any] | None) -> Any:
    fenced = _FENCED.search(text)
    raw = (fenced.group(1) if fenced else text).strip()
    try:
        value = decode_json(raw.encode(errors="replace"), max_bytes=_MAX_JSON_BYTES)
    except MalformedJson as error:
        raise BadAnswer(
            f"the answer is not valid JSON ({error})", code="answer_not_json", text=text
        ) from None
    if schema is not None:
        problem = next(iter(_validator(schema).iter_errors(value)), None)
        if problem is not None:
            where = ".".join(str(part) for part in problem.instance_path) or "the value"
            raise BadAnswer(
                f"the answer breaks the JSON Schema at {where} "
                f"(rule {'/'.join(str(part) for part in problem.schema_path)})",
                code="answer_breaks_schema",
                text=text,
            )
    return value


def _validator(schema: dict[str, Any]) -> Any:
    import jsonschema_rs  # noqa: PLC0415 - only jobs with a schema need it

    # Schemas are the tenant's: linear-time patterns only, and no reference is ever fetched.
    return jsonschema_rs.validator_for(
        schema, pattern_options=jsonschema_rs.RegexOptions(), retriever=_refuse
    )


def _refuse(uri: str) -> Any:
    raise ValueError(f"$ref {uri[:80]!r} leads outside of the schema")
