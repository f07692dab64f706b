"""`providers.yaml`: the providers, the models that they serve, and the order of fallbacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from penstock_contracts.models import Name
from penstock_kit.durations import Seconds
from pydantic import (
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from llm_worker.errors import BadProvidersFile

__all__ = ["Model", "ProviderEntry", "Providers", "load_providers"]

ModelName = Annotated[str, Field(min_length=1, max_length=128)]

EXAMPLE = """\
providers:
  main:
    base_url: https://api.example.com/v1
    api_key_env: MAIN_API_KEY
models:
  gpt-4o: {provider: main}
  small: {provider: main, upstream: small-model-2026}
default_model: small
"""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderEntry(_Entry):
    """One OpenAI-compatible endpoint, its key and its limits."""

    kind: Literal["openai"] = Field(default="openai", description="The protocol it speaks.")
    base_url: AnyHttpUrl = Field(description="Endpoint with its /v1.")
    api_key: SecretStr | None = Field(
        default=None, description="The key itself; better name a variable with api_key_env."
    )
    api_key_env: str | None = Field(
        default=None, description="Name of the environment variable that holds the key."
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="How this provider calls the limit of output tokens."
    )
    max_concurrency: int = Field(default=256, ge=1, le=10_000, description="Calls at once.")
    connect_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="Until the connection stands."
    )
    first_token_timeout: Seconds = Field(
        default=timedelta(seconds=60), description="From the request to the first piece of output."
    )
    idle_timeout: Seconds = Field(
        default=timedelta(seconds=30), description="Between two pieces of output."
    )
    total_timeout: Seconds = Field(
        default=timedelta(minutes=10), description="Whole call; the task's timeout if that is less."
    )
    max_response_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="A longer answer is cut off and fails."
    )
    max_response_tokens: int = Field(
        default=200_000, ge=1, description="Pieces of output per call."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("give at most one of api_key and api_key_env")
        if self.first_token_timeout > self.total_timeout:
            raise ValueError("first_token_timeout must not be above total_timeout")
        return self


class Model(_Entry):
    """An alias under which jobs name a model."""

    provider: Name = Field(description="Which of the providers serves it.")
    upstream: ModelName | None = Field(
        default=None, description="The provider's own name of the model; absent: the alias."
    )
    price: str | None = Field(
        default=None,
        description="`<provider>/<model>` of genai-prices; absent: the cost is unknown (null).",
    )
    context_tokens: int | None = Field(
        default=None, gt=0, description="Size of the context window."
    )
    fallback: list[ModelName] = Field(
        default_factory=list, description="Models to try when this one fails for good, in order."
    )


class Providers(_Entry):
    """The whole file."""

    providers: dict[Name, ProviderEntry] = Field(min_length=1)
    models: dict[ModelName, Model] = Field(min_length=1)
    default_model: ModelName

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        if self.default_model not in self.models:
            raise ValueError(f"default_model {self.default_model!r} is not under models")
        for alias, model in self.models.items():
            if model.provider not in self.providers:
                raise ValueError(
                    f"models.{alias}.provider {model.provider!r} is not under providers"
                )
            for other in model.fallback:
                if other not in self.models or other == alias:
                    raise ValueError(f"models.{alias}.fallback {other!r} is no other model")
        return self

    def upstream(self, alias: str) -> str:
        """What the provider calls the model; the alias itself unless the file says otherwise."""
        return self.models[alias].upstream or alias

    def chain(self, first: str | None, task_models: list[str]) -> tuple[str, ...] | None:
        """Models to try, in order; None if one is unknown.

        A model that the job names wins over the task's chain, that over the default. Each brings
        its fallbacks; a chain of the task is complete in itself.
        """
        if first is None and task_models:
            names = list(task_models)
        else:
            head = first or self.default_model
            model = self.models.get(head)
            names = [head, *(model.fallback if model else ())]
        return tuple(dict.fromkeys(names)) if all(name in self.models for name in names) else None


def load_providers(path: Path | None, *, environ: Mapping[str, str] | None = None) -> Providers:
    """Read and check the file; keys named by `api_key_env` are filled in.

    Raises:
        BadProvidersFile: what is wrong, and how a file looks.
    """
    if path is None:
        raise BadProvidersFile(
            "no providers are configured: set PENSTOCK_PROVIDERS_FILE to a file like\n" + EXAMPLE
        )
    try:
        file = Providers.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadProvidersFile(
            f"cannot read the providers file {str(path)!r} ({error}); it looks like\n{EXAMPLE}"
        ) from error
    except ValidationError as error:
        raise BadProvidersFile(_sentence(path, error)) from None
    keys = os.environ if environ is None else environ
    providers = {name: _with_key(name, entry, keys) for name, entry in file.providers.items()}
    return file.model_copy(update={"providers": providers})


def _with_key(name: str, entry: ProviderEntry, environ: Mapping[str, str]) -> ProviderEntry:
    if entry.api_key_env is None:
        return entry
    key = environ.get(entry.api_key_env)
    if not key:
        raise BadProvidersFile(
            f"provider {name!r} takes its key from {entry.api_key_env}, which is not set; set it, "
            "or leave api_key_env out for an endpoint without keys"
        )
    return entry.model_copy(update={"api_key": SecretStr(key)})


def _sentence(path: Path, error: ValidationError) -> str:
    lines = [
        f"  - {'.'.join(str(part) for part in problem['loc']) or 'file'}: "
        + problem["msg"].removeprefix("Value error, ")
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    problems = "\n".join(lines)
    return f"the providers file {str(path)!r} cannot be used:\n{problems}\nIt looks like\n{EXAMPLE}"
