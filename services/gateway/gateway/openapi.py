"""The OpenAPI 3.1 document, rendered from `surface.SURFACE`, the models and the error registry.

`python -m gateway.openapi FOLDER` writes `openapi.json` and `errors.md` there; both are committed
in docs/.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import orjson
from penstock_contracts.parts import (
    ChatOutput,
    EmbedOutput,
    GenerateOutput,
    IngestOutput,
    SearchOutput,
)
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.error_kinds import REGISTRY
from gateway.errors import PROBLEM_TYPE
from gateway.models import ProblemBody
from gateway.route_specs import Good, RouteSpec
from gateway.surface import SURFACE

__all__ = ["VERSION", "errors_page", "openapi_bytes", "openapi_document"]

VERSION: Final = "1.0.0"
_TOO_MANY: Final = 429
_REF: Final = "#/components/schemas/{model}"
_EVENT_STREAM: Final = "text/event-stream"
_SERVER_SENT_EVENT: Final = {
    "description": "One event of the stream.",
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
        "data": {"type": "string"},
    },
    "additionalProperties": False,
}
"""OpenAPI before 3.2 cannot tell a stream from what it consists of; readers take the schema of a
stream as that of each event."""
_OUTPUTS: Final = (ChatOutput, GenerateOutput, EmbedOutput, IngestOutput, SearchOutput)
_HEADERS: Final = {
    "Location": "Address of the job.",
    "Idempotent-Replayed": "`true` where the Idempotency-Key was used before.",
    "Preference-Applied": "The preference that was honoured, after our limits.",
    "RateLimit-Policy": "Every limit that counted the request: `q` jobs in any `w` seconds.",
    "RateLimit": "How each limit stands: `r` left, `t` seconds until one more is free.",
    "x-penstock-job": "Id of the job behind the answer; `/v1/jobs/{job}` knows it.",
    "openai-processing-ms": "Milliseconds until the answer began.",
    "openai-poll-after-ms": "Milliseconds until it is worth to look again; absent once it is over.",
    "Link": "The next page, `rel=next`.",
}


def openapi_document() -> dict[str, Any]:
    """The whole document as plain values."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for spec in SURFACE:
        paths[spec.path.replace(":path}", "}")][spec.method.lower()] = _operation(spec)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock gateway",
            "version": VERSION,
            "summary": "AI calls as durable jobs: submit, look, follow, cancel.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(paths),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key `pk_<id>.<secret>`, or a JWT of a trusted issuer.",
                }
            },
        },
        "security": [{"bearer": []}],
    }


def openapi_bytes() -> bytes:
    """The document as it is committed and served."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(openapi_document(), option=options)


def errors_page() -> str:
    """docs/errors.md: every code, what it means and what to do."""
    lines = [
        "# Errors of the gateway",
        "",
        "Rendered from `services/gateway/gateway/error_kinds/`; a test keeps it current.",
        "",
        "Every error is `application/problem+json` (RFC 9457) with `type title status detail",
        "instance` and the member `error{message,type,param,code}` that OpenAI clients read.",
        "`x-request-id` names the request in our logs, `x-should-retry` says whether the same",
        "request may succeed later, `retry-after` (seconds) and `retry-after-ms` say when.",
        "Prompts are never quoted.",
        "",
        "`GET /v1/jobs/{id}/result` of a job that failed answers with the status below, and with",
        "the job's own `type` and `code` in `error`.",
        "",
        "| status | code | type | retry | meaning | what to do |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind.status} | `{kind.code}` | `{kind.family}` "
        f"| {'yes' if kind.should_retry else 'no'} | {kind.title} | {kind.remedy} |"
        for kind in REGISTRY.values()
    ]
    return "\n".join(lines) + "\n"


def _schemas() -> dict[str, Any]:
    validated = {spec.body for spec in SURFACE if spec.body is not None}
    rendered: set[type[BaseModel]] = {
        good.model for spec in SURFACE for good in spec.good if good.model is not None
    } | {ProblemBody, *_OUTPUTS}
    pairs: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in validated]
    pairs += [(model, "serialization") for model in rendered]
    pairs.sort(key=lambda pair: pair[0].__name__)
    _, definitions = models_json_schema(pairs, ref_template=_REF)
    return dict(sorted(definitions["$defs"].items()))


def _operation(spec: RouteSpec) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": spec.handler,
        "summary": spec.summary,
        "description": spec.about,
        "responses": _responses(spec),
    }
    if spec.parameters:
        operation["parameters"] = list(spec.parameters)
    if spec.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {spec.body_type: {"schema": _ref(spec.body)}},
        }
    return operation


def _responses(spec: RouteSpec) -> dict[str, Any]:
    responses = {str(good.status): _good(good) for good in spec.good}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*spec.errors, "method_not_allowed", "not_found"):
        by_status[REGISTRY[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        response: dict[str, Any] = {
            "description": "; ".join(f"`{code}`: {REGISTRY[code].title}" for code in codes),
            "content": {PROBLEM_TYPE: {"schema": _ref(ProblemBody)}},
            "headers": {
                "x-request-id": {"schema": {"type": "string"}},
                "x-should-retry": {"schema": {"type": "string", "enum": ["true", "false"]}},
            },
        }
        if status == _TOO_MANY:
            response["headers"] |= {
                name: {"description": _HEADERS[name], "schema": {"type": "string"}}
                for name in ("RateLimit-Policy", "RateLimit")
            }
        if any(REGISTRY[code].should_retry for code in codes):
            response["headers"]["retry-after"] = {
                "description": "Seconds.",
                "schema": {"type": "integer"},
            }
        responses[str(status)] = response
    return responses


def _good(good: Good) -> dict[str, Any]:
    schema: dict[str, Any]
    headers: dict[str, Any] = {"x-request-id": {"schema": {"type": "string"}}}
    headers |= {
        name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in good.headers
    }
    if good.model is not None:
        schema = _ref(good.model)
    elif good.media_type == "application/json":
        schema = {"oneOf": [_ref(model) for model in _OUTPUTS]}
    else:
        schema = _SERVER_SENT_EVENT if good.media_type == _EVENT_STREAM else {"type": "string"}
    content: dict[str, Any] = {good.media_type: {"schema": schema}}
    if good.also_streams:
        content[_EVENT_STREAM] = {"schema": _SERVER_SENT_EVENT}
    return {"description": good.about, "headers": headers, "content": content}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "openapi.json").write_bytes(openapi_bytes())
    (folder / "errors.md").write_text(errors_page())
