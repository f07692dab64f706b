from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from llm_worker.errors import BadProvidersFile
from llm_worker.providers_file import EXAMPLE, Providers, load_providers

SMALLEST = """\
providers: {main: {base_url: https://api.example.com/v1}}
models: {gpt-4o: {provider: main}}
default_model: gpt-4o
"""


@pytest.fixture(name="path")
def path_fixture(tmp_path: Path) -> Path:
    return tmp_path / "providers.yaml"


def load(path: Path, text: str, **environ: str) -> Providers:
    path.write_text(text)
    return load_providers(path, environ=environ)


def test_upstream_when_absent_is_the_alias(path: Path) -> None:
    providers = load(path, SMALLEST)

    assert providers.upstream("gpt-4o") == "gpt-4o"
    assert providers.chain(None, []) == ("gpt-4o",)


def test_upstream_when_given_is_what_the_provider_hears(path: Path) -> None:
    text = SMALLEST.replace("{provider: main}", "{provider: main, upstream: gpt-4o-2026}")

    assert load(path, text).upstream("gpt-4o") == "gpt-4o-2026"


def test_example_of_the_refusals_is_a_file_that_works(path: Path) -> None:
    providers = load(path, EXAMPLE, MAIN_API_KEY="secret")

    key = providers.providers["main"].api_key
    assert key is not None
    assert key.get_secret_value() == "secret"
    assert "secret" not in repr(providers)


def test_price_of_a_model_overrides_nothing_but_its_own(path: Path) -> None:
    text = SMALLEST.replace(
        "{gpt-4o: {provider: main}}",
        "{gpt-4o: {provider: main, price: openai/gpt-4o}, free: {provider: main}}",
    )

    models = load(path, text).models
    assert (models["gpt-4o"].price, models["free"].price) == ("openai/gpt-4o", None)


def test_durations_are_read_as_people_write_them(path: Path) -> None:
    text = SMALLEST.replace("/v1}", "/v1, idle_timeout: 500ms, total_timeout: 2m}")

    entry = load(path, text).providers["main"]
    assert (entry.idle_timeout, entry.total_timeout) == (
        timedelta(milliseconds=500),
        timedelta(minutes=2),
    )


def test_load_when_no_file_is_named_shows_one() -> None:
    with pytest.raises(BadProvidersFile) as refused:
        load_providers(None)

    assert str(refused.value).startswith(
        "no providers are configured: set PENSTOCK_PROVIDERS_FILE to a file like\n"
    )
    assert EXAMPLE in str(refused.value)


@pytest.mark.parametrize(
    "content", [None, b"providers: {", b"\xff\xfe\x00"], ids=["absent", "no-yaml", "no-text"]
)
def test_load_when_the_file_is_unreadable_names_it(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadProvidersFile, match="cannot read the providers file") as refused:
        load_providers(path, environ={})

    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("default_model: gpt-4o", "default_model: x", "default_model 'x' is not under models"),
        ("provider: main", "provider: x", "models.gpt-4o.provider 'x' is not under providers"),
        (
            "{provider: main}",
            "{provider: main, fallback: [gpt-4o]}",
            "models.gpt-4o.fallback 'gpt-4o' is no other model",
        ),
        (
            "{provider: main}",
            "{provider: main, fallback: [x]}",
            "models.gpt-4o.fallback 'x' is no other model",
        ),
        ("{provider: main}", "{provider: main, prize: x}", "models.gpt-4o.prize: Extra inputs"),
        ("{provider: main}", "", "models.gpt-4o: Input should be a valid dictionary"),
        ("https://api.example.com/v1", "nowhere", "providers.main.base_url: Input should be a val"),
        (
            "/v1}",
            "/v1, api_key: k, api_key_env: K}",
            "providers.main: give at most one of api_key and api_key_env",
        ),
        (
            "/v1}",
            "/v1, total_timeout: 10s}",
            "providers.main: first_token_timeout must not be above total_timeout",
        ),
        (SMALLEST, "", "file: Input should be a valid dictionary"),
    ],
)
def test_load_when_a_member_is_wrong_says_where(path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(BadProvidersFile) as refused:
        load(path, SMALLEST.replace(old, new))

    assert f"  - {told}" in str(refused.value).replace("file: models", "models").replace(
        "file: default", "default"
    )
    assert str(refused.value).endswith(f"It looks like\n{EXAMPLE}")


def test_load_when_a_key_is_wrong_does_not_print_it(path: Path) -> None:
    with pytest.raises(BadProvidersFile) as refused:
        load(path, SMALLEST.replace("/v1}", "/v1, api_key: sk-hidden, api_key_env: K}"))

    assert "sk-hidden" not in str(refused.value)


@pytest.mark.parametrize("environ", [{}, {"K": ""}], ids=["unset", "empty"])
def test_load_when_the_key_is_not_in_the_environment_names_the_variable(
    path: Path, environ: dict[str, str]
) -> None:
    with pytest.raises(BadProvidersFile, match="'main' takes its key from K, which is not set"):
        load(path, SMALLEST.replace("/v1}", "/v1, api_key_env: K}"), **environ)


def test_chain_when_the_job_names_a_model_goes_before_the_task_and_the_default(path: Path) -> None:
    text = """\
providers: {main: {base_url: https://api.example.com/v1}}
models:
  a: {provider: main, fallback: [b, c]}
  b: {provider: main}
  c: {provider: main, fallback: [a]}
default_model: a
"""
    providers = load(path, text)

    assert providers.chain("c", ["b"]) == ("c", "a")
    assert providers.chain(None, ["b", "b"]) == ("b",)
    assert providers.chain(None, []) == ("a", "b", "c")
    assert providers.chain("unknown", []) is None
    assert providers.chain(None, ["unknown"]) is None
