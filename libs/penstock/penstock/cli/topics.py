"""`penstock topics`: the topics of the contract and those of the cluster."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from penstock_contracts.topics import Topic
from penstock_kit.kafka.admin import ensure_topics

from penstock.cli.console import Out, failing_well
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.operating.topics import NoTopic, TopicRow, topic_rows

__all__ = ["apply", "list_all", "show"]

PartitionsOption = Annotated[
    int | None, typer.Option(min=1, help="For new topics, instead of the declared number.")
]
ReplicationOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Copies of each new topic; default $PENSTOCK_KAFKA__REPLICATION, else the brokers'"
        " default.replication.factor.",
        show_default=False,
    ),
]


def list_all(
    *, kafka: KafkaOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Show every declared topic and whether the cluster has it."""
    with failing_well(json=json):
        out = Out(json=json)
        target = Target(data=data, given_kafka=kafka)
        rows = asyncio.run(topic_rows(target.kafka, target.tasks.topics()))
        out.document([_document(row) for row in rows])
        out.table(
            ("topic", "partitions", "cleanup", "about"),
            [
                (row.topic.name, row.partitions or "missing", row.topic.cleanup, row.topic.about)
                for row in rows
            ],
        )
        if any(row.partitions is None for row in rows):
            out.say("create what is missing with: penstock topics apply")


def apply(
    *,
    partitions: PartitionsOption = None,
    replication: ReplicationOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Create what is missing; existing topics are compared and never changed."""
    with failing_well(json=json):
        out = Out(json=json)
        target = Target(data=data, given_kafka=kafka)
        settings = target.kafka
        if replication is not None:
            settings = settings.model_copy(update={"replication": replication})
        report = asyncio.run(ensure_topics(settings, target.tasks.topics(), partitions=partitions))
        differences = [
            {"topic": d.topic, "name": d.name, "declared": d.declared, "actual": d.actual}
            for d in report.differences
        ]
        out.document({"created": report.created, "differences": differences})
        out.say(f"created {len(report.created)}, existing {len(report.existing)}")
        for found in differences:
            out.say("  {topic}: {name} is {actual}, declared {declared}".format(**found))


def show(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show one topic: what it carries, its key, who writes and reads it."""
    with failing_well(json=json):
        out = Out(json=json)
        target = Target(data=data, given_kafka=kafka)
        declared = [known for known in target.tasks.topics() if known.name == topic]
        if not declared:
            raise NoTopic(f"there is no topic {topic!r}; `penstock topics list` shows all")
        (row,) = asyncio.run(topic_rows(target.kafka, declared))
        document = _document(row)
        out.document(document)
        for name, value in document.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            out.say(f"{name:<12} {text}")


def _document(row: TopicRow) -> dict[str, Any]:
    topic: Topic = row.topic
    return {
        "topic": topic.name,
        "about": topic.about,
        "key": topic.key,
        "partitions": row.partitions,
        "declared": topic.partitions,
        "config": ", ".join(f"{name}={value}" for name, value in topic.config.items()),
        "messages": list(topic.messages),
        "written_by": list(topic.written_by),
        "read_by": list(topic.read_by),
    }
