"""Safe defaults, and nobody goes around them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from penstock_contracts.topics import FIXED_TOPICS, request_topics
from penstock_kit.kafka.factory import (
    consumer_config,
    make_admin,
    make_consumer,
    make_producer,
    make_tail_consumer,
    producer_config,
    tail_config,
)
from penstock_kit.settings import BadSettings, KafkaSettings
from pydantic import SecretStr

ROOT = Path(__file__).parents[3]
CLIENTS = {
    "Producer",
    "Consumer",
    "AIOProducer",
    "AIOConsumer",
    "SerializingProducer",
    "DeserializingConsumer",
    "ShareConsumer",
    "AdminClient",
    "AIOKafkaProducer",
    "AIOKafkaConsumer",
    "AIOKafkaAdminClient",
}
FACTORY = ROOT / "libs/kit/penstock_kit/kafka/factory.py"
SETTINGS = KafkaSettings(bootstrap="a:1, b:2")


def test_producer_config_when_made_then_durable_and_ordered() -> None:
    config = producer_config(SETTINGS, client_id="c")

    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True
    assert config["partitioner"] == "murmur2_random"
    assert config["linger.ms"] == 0
    assert config["delivery.timeout.ms"] == 15_000


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_consumer_config_when_made_then_commits_nothing_by_itself(protocol: str) -> None:
    settings = KafkaSettings.model_validate({"bootstrap": "a:1", "group_protocol": protocol})
    config = consumer_config(settings, "g", client_id="c")

    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "earliest"
    assert ("session.timeout.ms" in config) == (protocol == "classic")


def test_tail_config_when_made_then_has_no_group() -> None:
    config = tail_config(SETTINGS, client_id="c")

    assert config["group_id"] is None
    assert config["enable_auto_commit"] is False
    assert config["bootstrap_servers"] == ["a:1", "b:2"]


def test_clients_when_compared_with_topics_then_every_record_fits() -> None:
    topics = (*FIXED_TOPICS, *request_topics("chat", "ai.chat.requests.v1", workers="w"))
    largest = max(topic.max_message_bytes for topic in topics)

    assert producer_config(SETTINGS, client_id="c")["message.max.bytes"] >= largest
    assert consumer_config(SETTINGS, "g", client_id="c")["fetch.message.max.bytes"] >= largest
    assert tail_config(SETTINGS, client_id="c")["max_partition_fetch_bytes"] >= largest


def test_security_when_property_is_no_security_then_refused_by_name() -> None:
    settings = KafkaSettings(bootstrap="a:1", security={"acks": SecretStr("0")})

    with pytest.raises(BadSettings, match="'acks'"):
        producer_config(settings, client_id="c")


@pytest.mark.parametrize(
    "security",
    [
        {"security.protocol": "nope"},
        {"security.protocol": "SASL_SSL"},
        {"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"},
    ],
)
async def test_security_when_no_client_can_use_it_then_refused_by_the_name_of_the_variable(
    security: dict[str, str],
) -> None:
    settings = KafkaSettings.model_validate({"bootstrap": "a:1", "security": security})

    with pytest.raises(BadSettings, match="PENSTOCK_KAFKA__SECURITY cannot be used"):
        make_producer(settings, client_id="c", overrides={})
    with pytest.raises(BadSettings, match="PENSTOCK_KAFKA__SECURITY cannot be used"):
        make_consumer(settings, "g", client_id="c", overrides={})
    with pytest.raises(BadSettings, match="PENSTOCK_KAFKA__SECURITY cannot be used"):
        make_admin(settings, client_id="c")


@pytest.mark.parametrize(
    "security",
    [
        {"security.protocol": "nope"},
        {"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"},
    ],
)
async def test_security_when_the_live_reader_cannot_use_it_then_refused_the_same(
    security: dict[str, str],
) -> None:
    settings = KafkaSettings.model_validate({"bootstrap": "a:1", "security": security})

    with pytest.raises(BadSettings, match="PENSTOCK_KAFKA__SECURITY cannot be used"):
        make_tail_consumer(settings, "t")


def test_tail_config_when_sasl_given_then_translated() -> None:
    settings = KafkaSettings(
        bootstrap="a:1",
        security={
            "security.protocol": SecretStr("SASL_PLAINTEXT"),
            "sasl.mechanism": SecretStr("PLAIN"),
            "sasl.username": SecretStr("u"),
            "sasl.password": SecretStr("p"),
        },
    )
    config = tail_config(settings, client_id="c")

    assert config["security_protocol"] == "SASL_PLAINTEXT"
    assert (config["sasl_plain_username"], config["sasl_plain_password"]) == ("u", "p")


def test_clients_when_searched_for_in_all_code_then_only_the_factory_constructs_them() -> None:
    sources = [path for top in ("libs", "services") for path in (ROOT / top).rglob("*.py")]
    assert FACTORY in sources

    offenders = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources
        if path != FACTORY and ".venv" not in path.parts
        for line in constructions(ast.parse(path.read_text()))
    }

    assert offenders == set()
    assert list(constructions(ast.parse(FACTORY.read_text())))


def constructions(tree: ast.AST) -> Iterator[int]:
    """Lines that call a client class which the module imported from a Kafka client."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and is_client(node.module)
        for alias in node.names
        if alias.name in CLIENTS
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in imported:
                yield node.lineno
            case ast.Attribute(attr=name) as made if name in CLIENTS and is_client(
                ast.unparse(made.value)
            ):
                yield node.lineno


def is_client(module: str | None) -> bool:
    return (module or "").split(".")[0] in ("confluent_kafka", "aiokafka")
