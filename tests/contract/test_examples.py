"""Every example against its schema and its model: good ones pass both, bad ones fail."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from penstock_contracts.catalog import MESSAGES
from penstock_contracts.codec import decode_json, encode_model
from penstock_contracts.dead import read_dead_letter, read_resolution
from penstock_contracts.envelope import decode_event
from penstock_contracts.errors import ContractError
from pydantic import ValidationError

SCHEMAS = Path(__file__).parents[2] / "schemas"
EXAMPLES = sorted((SCHEMAS / "examples").glob("*/v1/*.json"))
ENVELOPES = [path for path in EXAMPLES if path.parts[-3] == "envelope"]
DEAD = [path for path in EXAMPLES if path.parts[-3] == "dead"]
BY_MODEL = [path for path in EXAMPLES if path not in (*ENVELOPES, *DEAD)]
VALID = [path for path in BY_MODEL if not path.name.startswith("invalid-")]
INVALID = [path for path in BY_MODEL if path.name.startswith("invalid-")]


def _name(path: Path) -> str:
    return f"{path.parts[-3]}/{path.stem}"


@pytest.mark.parametrize("path", VALID, ids=_name)
def test_good_example_passes_schema_and_model(path: Path) -> None:
    message = MESSAGES[path.parts[-3]]
    value = json.loads(path.read_bytes())

    jsonschema.Draft202012Validator(message.adapter.json_schema()).validate(value)
    model = message.adapter.validate_python(decode_json(path.read_bytes()))

    assert message.adapter.validate_json(encode_model(model)) == model


@pytest.mark.parametrize("path", INVALID, ids=_name)
def test_bad_example_is_refused(path: Path) -> None:
    with pytest.raises(ValidationError):
        MESSAGES[path.parts[-3]].adapter.validate_json(path.read_bytes())


def test_every_message_has_a_good_and_a_bad_example() -> None:
    assert {path.parts[-3] for path in VALID} == set(MESSAGES)
    assert {path.parts[-3] for path in INVALID} == set(MESSAGES)


@pytest.mark.parametrize("path", ENVELOPES, ids=_name)
def test_envelope_example_is_read_or_refused(path: Path) -> None:
    example = json.loads(path.read_bytes())
    headers = [(name, text.encode()) for name, text in example["headers"].items()]

    if path.name.startswith("invalid-"):
        with pytest.raises(ContractError):
            decode_event(headers, example["value"].encode())
    else:
        envelope, data = decode_event(headers, example["value"].encode())
        assert (envelope.id, envelope.source, envelope.tenant) == ("e-1", "/orders", "acme")
        assert json.loads(data)["task"] == "chat"


@pytest.mark.parametrize("path", DEAD, ids=_name)
def test_example_of_a_dead_letter_topic_is_read_as_what_it_is(path: Path) -> None:
    example = json.loads(path.read_bytes())
    headers = [(name, text.encode()) for name, text in example["headers"].items()]
    kind = path.stem.partition("-")[0]

    assert (read_dead_letter(headers) is not None) == (kind == "letter")
    assert (read_resolution(headers) is not None) == (kind == "resolution")
