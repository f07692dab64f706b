from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from penstock_contracts.credentials import Scope
from penstock_kit.auth.api_keys import ApiKeys, make_api_key
from penstock_kit.auth.bearer import BearerAuthenticator, bearer_token
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.principal import AuthError
from penstock_kit.settings import BadSettings, JwtIssuer
from pydantic import SecretStr

from tests.support.clock import HandClock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECRET = "a-shared-secret-of-more-than-32-bytes"
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "penstock",
    "sub": "ann@example.org",
    "tenant": "acme",
    "exp": NOW.timestamp() + 600,
}


def issuer(**changes: Any) -> JwtIssuer:
    values = {
        "issuer": "https://id.example",
        "audience": "penstock",
        "algorithm": "HS256",
        "key": SecretStr(SECRET),
    }
    return JwtIssuer(**{**values, **changes})


def token(claims: dict[str, Any] | None = None, **header: Any) -> str:
    return jwt.encode({**CLAIMS, **(claims or {})}, SECRET, "HS256", headers=header or None)


def without(name: str) -> str:
    return jwt.encode({key: value for key, value in CLAIMS.items() if key != name}, SECRET, "HS256")


def refusal(credential: str, *, tokens: JwtTokens | None = None) -> AuthError:
    with pytest.raises(AuthError) as refused:
        (tokens or JwtTokens([issuer()], HandClock(NOW))).authenticate(credential)
    return refused.value


def pem(private: Any) -> tuple[bytes, str]:
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


def test_good_token_names_the_caller() -> None:
    principal = JwtTokens([issuer()], HandClock(NOW)).authenticate(token({"scope": "read tenant"}))

    assert (principal.tenant, principal.user) == ("acme", "ann@example.org")
    assert principal.level is Scope.TENANT
    assert principal.credential == "jwt:https://id.example:ann@example.org"
    assert principal.expires_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("claim", "level"),
    [
        (None, Scope.USER),
        ("", Scope.USER),
        ("tenant", Scope.TENANT),
        ("penstock:admin openid", Scope.ADMIN),
        (["user", "admin"], Scope.ADMIN),
        (["administrator"], Scope.USER),
        ({"admin": True}, Scope.USER),
        (7, Scope.USER),
    ],
)
def test_scope_claim_maps_to_the_widest_level_that_it_grants(claim: Any, level: Scope) -> None:
    principal = JwtTokens([issuer()], HandClock(NOW)).authenticate(token({"scope": claim}))

    assert principal.level is level


def test_claims_may_have_other_names() -> None:
    tokens = JwtTokens([issuer(tenant_claim="org", scope_claim="roles")], HandClock(NOW))

    principal = tokens.authenticate(token({"org": "beta", "roles": ["tenant"]}))

    assert (principal.tenant, principal.level) == ("beta", Scope.TENANT)


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [
        ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_public_key_algorithms_work(algorithm: str, private: Any) -> None:
    signing, public = pem(private)
    tokens = JwtTokens([issuer(algorithm=algorithm, key=SecretStr(public))], HandClock(NOW))

    assert tokens.authenticate(jwt.encode(CLAIMS, signing, algorithm)).tenant == "acme"
    assert refusal(token(), tokens=tokens).code == "invalid_token"


@pytest.mark.parametrize("name", ["exp", "aud", "iss", "sub", "tenant"])
def test_token_without_a_required_claim_is_refused(name: str) -> None:
    assert refusal(without(name)).code == "invalid_token"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "somebody-else"},
        {"iss": "https://evil.example"},
        {"tenant": "a b"},
        {"tenant": ["acme"]},
        {"tenant": ""},
        {"sub": "x" * 129},
        {"sub": "ann\nadmin"},
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": True},
        {"nbf": NOW.timestamp() + 120},
        {"iat": NOW.timestamp() + 120},
    ],
)
def test_token_with_a_wrong_claim_is_refused(claims: dict[str, Any]) -> None:
    assert refusal(token(claims)).code == "invalid_token"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["b64"]},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/cert"},
    ],
)
def test_token_that_says_how_to_check_it_is_refused(header: dict[str, Any]) -> None:
    assert refusal(token(**header)).code == "invalid_token"


def test_unsigned_token_is_refused() -> None:
    assert refusal(jwt.encode(CLAIMS, "", "none")).code == "invalid_token"


def test_token_signed_with_the_public_key_as_shared_secret_is_refused() -> None:
    _, public = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    tokens = JwtTokens([issuer(algorithm="RS256", key=SecretStr(public))], HandClock(NOW))
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, CLAIMS)
    ]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        b".".join(parts), public.encode()
    )
    forged = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()

    assert refusal(forged, tokens=tokens).code == "invalid_token"


@pytest.mark.parametrize(
    "garbage", ["", "x", "a.b.c", "....", "é.é.é", "eyJ" + "A" * 10_000, "\x00", "[" * 5000]
)
def test_garbage_is_refused(garbage: str) -> None:
    assert refusal(garbage).code == "invalid_token"


def test_altered_signature_is_refused_even_after_the_good_token_was_seen() -> None:
    tokens, good = JwtTokens([issuer()], HandClock(NOW)), token()
    tokens.authenticate(good)
    head, _, signature = good.rpartition(".")

    assert refusal(f"{head}.{signature[::-1]}", tokens=tokens).code == "invalid_token"


def test_token_expires_by_our_clock_with_thirty_seconds_of_leeway_also_when_remembered() -> None:
    clock = HandClock(NOW)
    tokens, good = JwtTokens([issuer()], clock), token()
    principal = tokens.authenticate(good)

    clock.advance(timedelta(seconds=629))
    assert tokens.authenticate(good) == principal
    assert tokens.lapse_of(principal) is None
    clock.advance(timedelta(seconds=1))

    assert refusal(good, tokens=tokens).code == "expired_token"
    assert refusal(good, tokens=tokens).code == "expired_token"
    lapse = tokens.lapse_of(principal)
    assert lapse is not None
    assert lapse.code == "expired_token"


def test_two_entries_of_one_issuer_let_keys_rotate() -> None:
    older = issuer(key=SecretStr("an-older-secret-of-more-than-32-bytes"))
    tokens = JwtTokens([older, issuer()], HandClock(NOW))

    assert tokens.authenticate(token()).tenant == "acme"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", "short"),
        ("HS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("RS256", "not a key"),
        ("EdDSA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
    ],
)
def test_key_that_does_not_fit_refuses_the_start(algorithm: str, key: str) -> None:
    with pytest.raises(BadSettings, match="PENSTOCK_AUTH__JWT") as refused:
        JwtTokens([issuer(algorithm=algorithm, key=SecretStr(key))], HandClock(NOW))

    assert key not in str(refused.value)


def test_bearer_tells_keys_from_tokens() -> None:
    clock = HandClock(NOW)
    keys = ApiKeys(clock)
    key = make_api_key(tenant="beta", user="bob", scope=Scope.USER, now=NOW)
    keys.put(key.record)
    bearer = BearerAuthenticator(keys=keys, tokens=JwtTokens([issuer()], clock))

    by_key, by_token = bearer.authenticate(key.token), bearer.authenticate(token())

    assert (by_key.tenant, by_token.tenant) == ("beta", "acme")
    assert bearer.lapse_of(by_key) is None
    assert bearer.lapse_of(by_token) is None
    keys.remove(key.record.id)
    assert bearer.lapse_of(by_key) is not None
    with pytest.raises(AuthError) as refused:
        bearer.authenticate("")
    assert refused.value.code == "missing_credentials"


def test_bearer_header_is_read_in_any_case() -> None:
    assert bearer_token("bEaReR  abc ") == "abc"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_bearer_header_without_credentials_is_refused(header: str | None) -> None:
    with pytest.raises(AuthError) as refused:
        bearer_token(header)

    assert refused.value.code == "missing_credentials"
