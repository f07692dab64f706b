"""Generated requests against a real gateway: no server error, no undeclared answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.gateway_process import GatewayProcess, running_gateway, whole_redis

pytestmark = pytest.mark.timeout(300)
DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"
SCHEMA = schemathesis.openapi.from_path(DOCUMENT).exclude(path_regex="/events$")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with whole_redis(folder) as url, asyncio.Runner() as runner:
        context = running_gateway(folder, kafka_bootstrap=kafka_bootstrap, redis_url=url)
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_api_when_fuzzed_answers_as_declared(case: Case[Any], gateway: GatewayProcess) -> None:
    case.call_and_validate(
        base_url=gateway.url,
        headers={"authorization": f"Bearer {gateway.key}"},
        timeout=20,
        checks=CHECKS,
    )
