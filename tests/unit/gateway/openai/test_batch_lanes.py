"""The consumer of batch requests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from gateway.openai.batches.wiring import build_lanes
from gateway.settings import GatewayGroup
from penstock_contracts.topics import BATCH_REQUESTS
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.telemetry.metrics import Metrics


@pytest.mark.parametrize("session_s", [4, 6, 10, 30])
def test_lanes_doubt_their_partitions_no_later_than_the_group_takes_them_away(
    session_s: int,
) -> None:
    kafka, session = MemoryKafka([BATCH_REQUESTS.name]), timedelta(seconds=session_s)

    lanes = build_lanes(
        GatewayGroup(port=0),
        cast("Any", None),
        consumer=kafka.consumer("batches"),
        producer=kafka.producer(),
        metrics=Metrics(),
        session=session,
        on_fatal=lambda _: None,
    )

    assert lanes._policy.session == session
    assert lanes._policy.revoke_deadline < session
