"""Render the committed schema files from the models; `--check` fails on drift.

Writes `json/<message>.v1.schema.json`, `topics/<topic>.yaml` and `asyncapi.yaml`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from penstock_contracts.catalog import MESSAGES, Message
from penstock_contracts.dead import DEAD_FIELDS, RESOLUTION_FIELDS
from penstock_contracts.topics import BUILTIN_TASKS, Topic, all_topics

HERE = Path(__file__).parent
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_DEAD_MESSAGES = ("dead", "dead_resolution")
"""Their content is in headers: they have no JSON Schema."""

HEADERS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "content-type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "With ce_source: identity of the event."},
        "ce_source": {"type": "string"},
        "ce_type": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string", "description": "Job id."},
        "ce_tenant": {"type": "string"},
        "ce_user": {"type": "string"},
        "ce_attempt": {"type": "string", "pattern": "^[0-9]+$"},
        "ce_seq": {"type": "string", "pattern": "^[0-9]+$"},
        "ce_priority": {"enum": ["high", "default", "low"]},
        "ce_deadline": {"type": "string", "format": "date-time"},
        "ce_producer": {"type": "string", "description": "Who signed a request event."},
        "ce_signature": {"type": "string", "description": "base64url HMAC-SHA256."},
        "ce_surface": {
            "type": "string",
            "description": "Kind of the object that the job is to another API, e.g. response; on"
            " lifecycle events.",
        },
        "ce_finish": {
            "type": "string",
            "description": "Why the output ended, beside ce_surface; on completed.",
        },
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
        "tracestate": {"type": "string"},
        "content-type": {"const": "application/json"},
    },
}


def json_schema(message: Message) -> dict[str, Any]:
    """The JSON Schema of a message as readers may validate it."""
    schema = message.adapter.json_schema(mode="validation")
    return {"$schema": _DRAFT, "$id": f"penstock:{message.name}.v1", **schema}


def topic_file(topic: Topic) -> dict[str, Any]:
    """What a topic's file says: meaning, key, settings, writers, readers, message schemas."""
    return {
        "topic": topic.name,
        "about": topic.about,
        "key": topic.key,
        "partitions": topic.partitions,
        "config": topic.config,
        "compatibility": "backward and forward within v1; a breaking change is a new topic version",
        "written_by": list(topic.written_by),
        "read_by": list(topic.read_by),
        "messages": {
            name: "headers; see asyncapi.yaml" if name in _DEAD_MESSAGES else _schema_path(name)
            for name in topic.messages
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document of every topic, seen from Penstock."""
    topics = all_topics(BUILTIN_TASKS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Penstock topics",
            "version": "1.0.0",
            "description": "AI calls as durable Kafka jobs. CloudEvents 1.0, binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel(topic): _channel_object(topic) for topic in topics},
        "operations": _operations(topics),
        "components": {"messages": _message_objects(topics)},
    }


def files() -> dict[Path, str]:
    """Every rendered file and its content."""
    rendered = {
        HERE / _schema_path(name): json.dumps(json_schema(message), indent=2) + "\n"
        for name, message in MESSAGES.items()
    }
    for topic in all_topics(BUILTIN_TASKS):
        rendered[HERE / "topics" / f"{topic.name}.yaml"] = _yaml(topic_file(topic))
    rendered[HERE / "asyncapi.yaml"] = _yaml(asyncapi())
    return rendered


def drift() -> list[str]:
    """Names of files that differ from what the models say, are missing, or are left over."""
    rendered = files()
    wrong = [
        str(path.relative_to(HERE))
        for path, content in rendered.items()
        if not path.exists() or path.read_text() != content
    ]
    present = [*HERE.glob("json/*.json"), *HERE.glob("topics/*.yaml")]
    return wrong + [
        f"{path.relative_to(HERE)} (left over)" for path in present if path not in rendered
    ]


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    if parser.parse_args().check:
        wrong = drift()
        for name in wrong:
            print(
                f"schemas/{name} is not what the models say; run `make schemas` and commit",
                file=sys.stderr,
            )
        return 1 if wrong else 0
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return 0


def _schema_path(name: str) -> str:
    return f"json/{name}.v1.schema.json"


def _yaml(content: dict[str, Any]) -> str:
    return "# Generated by `make schemas`; change the models instead.\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, width=100
    )


def _channel(topic: Topic) -> str:
    return topic.name.replace(".", "_")


def _channel_object(topic: Topic) -> dict[str, Any]:
    messages = [name for name in topic.messages if name in MESSAGES or name in _DEAD_MESSAGES]
    return {
        "address": topic.name,
        "description": f"{topic.about} Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": topic.cleanup.value.split(",")},
            }
        },
    }


def _operations(topics: tuple[Topic, ...]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in topics:
        for action, services in (("send", topic.written_by), ("receive", topic.read_by)):
            for service in services:
                verb = "writes" if action == "send" else "reads"
                name = f"{service.replace(' ', '_').replace('-', '_')}_{action}_{_channel(topic)}"
                operations[name] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{_channel(topic)}"},
                    "summary": f"{service} {verb} {topic.name}",
                }
    return operations


def _message_objects(topics: tuple[Topic, ...]) -> dict[str, Any]:
    used = [name for name in MESSAGES if any(name in topic.messages for topic in topics)]
    messages: dict[str, Any] = {
        name: {
            "name": MESSAGES[name].ce_type,
            "contentType": "application/json",
            "headers": HEADERS_SCHEMA,
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-07",
                "schema": _draft_07(MESSAGES[name].adapter.json_schema(mode="validation")),
            },
        }
        for name in used
    }
    messages["dead"] = {
        "name": "dead letter",
        "summary": "The original record with its headers; penstock_dead_* headers say why.",
        "headers": _dead_headers(DEAD_FIELDS, required=("reason", "code", "topic")),
        "payload": {"description": "The original value, byte for byte."},
    }
    messages["dead_resolution"] = {
        "name": "resolution of a dead letter",
        "summary": "What an operator did with the letter at `partition/offset`; same key and"
        " partition, no penstock_dead_reason.",
        "headers": _dead_headers(RESOLUTION_FIELDS, required=("resolution", "of", "at", "by")),
        "payload": {"description": "No value."},
    }
    return messages


def _dead_headers(fields: tuple[str, ...], *, required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [f"penstock_dead_{name}" for name in required],
        "properties": {f"penstock_dead_{name}": {"type": "string"} for name in fields},
    }


def _draft_07(schema: dict[str, Any]) -> Any:
    """The schema with its definitions inline: AsyncAPI resolves `$ref` from its own root."""
    definitions = schema.get("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(definitions[node["$ref"].removeprefix("#/$defs/")])
        return {
            key: inline(item) for key, item in node.items() if key not in ("$defs", "discriminator")
        }

    return inline(schema)


if __name__ == "__main__":
    sys.exit(main())
