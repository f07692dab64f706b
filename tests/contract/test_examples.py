"""Every example against its schema and its model: good ones pass both, bad ones fail."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from penstock_contracts.catalog import MESSAGES
from penstock_contracts.codec import decode_json, encode_model
from penstock_contracts.envelope import decode_event
from penstock_contracts.errors import ContractError
from pydantic import ValidationError

SCHEMAS = Path(__file__).parents[2] / "schemas"
EXAMPLES = sorted((SCHEMAS / "examples").glob("*/v1/*.json"))
ENVELOPES = [path for path in EXAMPLES if path.parts[-3] == "envelope"]
VALID = [p for p in EXAMPLES if not p.name.startswith("invalid-") and p not in ENVELOPES]
INVALID = [p for p in EXAMPLES if p.name.startswith("invalid-") and p not in ENVELOPES]


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
