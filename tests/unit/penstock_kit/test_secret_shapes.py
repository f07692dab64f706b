"""Secrets in text that others wrote go, what is said around them stays."""

from __future__ import annotations

import pytest
from penstock_kit.telemetry.redaction import REDACTED, Redactor

HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Token abc", "Authorization: *"),
        ("Authorization: ApiKey abc next: 1", "Authorization: * next: 1"),
        ("Authorization: Api-Key abc", "Authorization: *"),
        ("Authorization: Bearer abcdef123456", "Authorization: *"),
        ("authorization=Basic dXNlcjpw", "authorization=*"),
        (
            'Authorization: Digest username="ann", response="6629"\nDate: now',
            "Authorization: *\\nDate: now",
        ),
        ("Authorization: Frob s3cr3t99 was refused", "Authorization: * was refused"),
        ('{"Authorization":"Token abc","Date":"now"}', '{"Authorization":"*","Date":"now"}'),
        ("{'Authorization': 'Token abc', 'x': 1}", "{'Authorization': '*', 'x': 1}"),
        (
            r'{"e": "{\"Authorization\": \"Token abc\", \"x\": 1}"}',
            r'{"e": "{\"Authorization\": \"*\", \"x\": 1}"}',
        ),
        (
            "[(b'Authorization', b'Token abc'), (b'Accept', b'x')]",
            "[(b'Authorization', b'*'), (b'Accept', b'x')]",
        ),
        ("password: correct horse", "password: *"),
        ("password: correct horse battery staple user: ann", "password: * user: ann"),
        ("password: correct horse, try again", "password: *, try again"),
        ("password: hunter2. Please log in", "password: * Please log in"),
        ("password=hunter2 host=db", "password=* host=db"),
        ("password:a", "password:*"),
        ('{"password": "correct \\"horse\\" x", "n": 1}', '{"password": "*", "n": 1}'),
        ("passphrase: 'correct horse' x", "passphrase: '*' x"),
        ("key AKIAIOSFODNN7EXAMPLE is not active", "key * is not active"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "aws_secret_access_key=*"),
        ('{"api_key": ["abc"], "n": 1}', '{"api_key": *, "n": 1}'),
        ('{"api_key": {"value": "abc"}}', '{"api_key": *}'),
        ('{"api_key": "abc"}', '{"api_key": "*"}'),
        (f"invalid api key {HEX}", "invalid api key *"),
        (f"Incorrect API key provided: {HEX}.", "Incorrect API key provided: *"),
        (f"the token '{HEX}' has expired", "the token '*' has expired"),
        ("x-api-key: abcd1234", "x-api-key: *"),
        ("api_key=sk-abc123456&x=1", "api_key=*&x=1"),
    ],
)
def test_secret_in_words_of_others_is_removed_whole(text: str, clean: str) -> None:
    found = Redactor().text(text)

    assert found == clean.replace("*", REDACTED)


@pytest.mark.parametrize(
    "text",
    [
        "password: must have at least 8 characters",
        "password: is required",
        "the password of user ann was wrong",
        "401: no authorization header, send one",
        "Unexpected token: [ at line 3",
        "Unexpected token: '}' at line 3",
        "max_tokens: 4096 is more than the model has",
        "invalid api key, see https://example.com/keys",
        "the api key was given without a scope",
        "your API key is not allowed to use chat",
        "a token is about four characters",
        "input_tokens=17 output_tokens=4",
        "missing 'authorization', 'content-type'",
        f"trace {HEX} of job job_{HEX}",
        "region ASIA is not served",
        "Idempotency-Key: order-17",
        "secret sharing is a technique",
    ],
)
def test_ordinary_prose_stays(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(name * 10_000 for name in ("token=", 'token":"', "api key ", "password: ", '["token",')),
        *("Authorization: " + pad * 30_000 for pad in (" ", "a ", '\\"', "token ")),
        "password: " + "a" * 60_000 + " " + "b." * 3_000,
        'secret":' + "\\" * 60_000,
        'secret=\\"' + "\\" * 60_000,
    ],
)
def test_text_made_to_take_long_takes_no_time(text: str) -> None:
    """The patterns are linear: a test that is not would run for minutes."""
    assert len(Redactor().text(text)) < 2_100
