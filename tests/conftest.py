"""Fixtures that every tier may use, and the count of tests per tier."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.broker import kafka_bootstrap
from tests.support.kafka_ports import kafka_ports
from tests.support.redis_server import redis_url

__all__ = ["kafka_bootstrap", "kafka_ports", "pytest_terminal_summary", "redis_url"]

_TIERS = ("unit", "contract", "integration", "acceptance")
_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per tier: `unit: 412 passed`."""
    counts: dict[str, Counter[str]] = {tier: Counter() for tier in _TIERS}
    for outcome in _OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            tier = report.nodeid.removeprefix("tests/").partition("/")[0]
            if tier in counts:
                counts[tier][outcome] += 1
    terminalreporter.section("tiers", sep="-")
    for tier, count in counts.items():
        if count:
            told = ", ".join(
                f"{count[outcome]} {outcome}" for outcome in _OUTCOMES if count[outcome]
            )
            terminalreporter.write_line(f"{tier}: {told}")
