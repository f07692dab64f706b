"""Names of rules that were put without one: legal, telling, and never one for two selectors."""

from __future__ import annotations

from itertools import combinations

import pytest
from penstock.cli.rule_names import rule_name
from penstock_contracts.control import Selector
from penstock_contracts.models import Name
from pydantic import TypeAdapter

ALIKE = (
    Selector(),
    Selector(tenant="chat"),
    Selector(task="chat"),
    Selector(model="chat"),
    Selector(tenant="Chat"),
    Selector(tenant="acme", task="chat"),
    Selector(tenant="acme-task-chat"),
    Selector(model="a/b"),
    Selector(model="a:b"),
    Selector(model="m" * 70),
    Selector(model="m" * 71),
    Selector(argument={"a": 1}),
    Selector(argument={"a": "1"}),
    Selector(argument={"a": "b", "c": "d"}),
    Selector(argument={"a": "b-argument-c-d"}),
)


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        (Selector(), "pause"),
        (Selector(task="chat"), "pause-task-chat"),
        (Selector(model="gpt-5.1"), "pause-model-gpt-5.1"),
        (Selector(tenant="acme_eu"), "pause-tenant-acme_eu"),
    ],
)
def test_name_when_it_tells_everything_has_no_hash(selector: Selector, name: str) -> None:
    assert rule_name("pause", selector) == name


@pytest.mark.parametrize("selector", ALIKE)
def test_name_is_legal_and_the_same_each_time(selector: Selector) -> None:
    name = rule_name("demote", selector)

    assert TypeAdapter(Name).validate_python(name) == name
    assert rule_name("demote", selector.model_copy()) == name


def test_name_is_never_that_of_another_selector() -> None:
    named = [rule_name("pause", selector) for selector in ALIKE]

    assert [pair for pair in combinations(named, 2) if pair[0] == pair[1]] == []


def test_name_when_arguments_come_in_another_order_is_the_same() -> None:
    one, other = Selector(argument={"a": 1, "b": 2}), Selector(argument={"b": 2, "a": 1})

    assert rule_name("drop", one) == rule_name("drop", other)
