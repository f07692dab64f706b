from __future__ import annotations

import re

import pytest
from penstock_contracts.catalog import MESSAGES
from penstock_contracts.events import Position
from penstock_contracts.topics import BUILTIN_TASKS, Cleanup, all_topics

TOPICS = all_topics(BUILTIN_TASKS)


def test_topic_names_are_unique_lower_case_and_versioned() -> None:
    names = [topic.name for topic in TOPICS]

    assert len(names) == len(set(names))
    for name in names:
        assert re.fullmatch(r"ai(\.[a-z]+)+\.v1(\.(high|low|5s|30s|2m|10m))?", name)


def test_every_message_of_a_topic_is_in_the_catalogue() -> None:
    assert {name for topic in TOPICS for name in topic.messages} - set(MESSAGES) == {
        "dead",
        "dead_resolution",
    }


def test_compacted_topics_have_no_retention_unless_they_delete_too() -> None:
    for topic in TOPICS:
        assert (topic.retention_ms is None) == (topic.cleanup is Cleanup.COMPACT)


@pytest.mark.parametrize(
    "text", ["", "1", "-", "1-", "-1", "a-b", "1-2-3", "1.0-2", "²-1", "9" * 40 + "-1"]
)
def test_position_parse_when_malformed_then_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_position_round_trip() -> None:
    assert Position.parse(str(Position(3, 17))) == (3, 17)
