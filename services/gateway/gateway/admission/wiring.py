"""Admission's part of the composition root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from penstock_kit.clock import Clock
from penstock_kit.kafka.lag import LagPoller
from penstock_kit.settings import KafkaSettings
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics

from gateway.admission.admit import Admission
from gateway.admission.backlog import SHARED_TOPICS, Backlog, lag_topics
from gateway.admission.crowd import Crowd
from gateway.admission.degrading import DegradingAdmissions
from gateway.admission.local_store import LocalAdmissions
from gateway.admission.metrics import AdmissionMetrics
from gateway.admission.pace import Pace
from gateway.admission.rules import LimitBook
from gateway.admission.store import AdmissionStore

__all__ = ["AdmissionDesk"]


class AdmissionDesk:
    """What admission knows and counts in this process; `watcher` and `poller` keep it current."""

    def __init__(
        self, tasks: TaskCatalog, *, gateways: int, metrics: Metrics, clock: Clock
    ) -> None:
        self.metrics = AdmissionMetrics(metrics)
        self.crowd = Crowd(clock)
        self.pace = Pace(clock)
        self.backlog = Backlog(
            tasks,
            gateways=gateways,
            crowd=self.crowd,
            pace=self.pace,
            metrics=self.metrics,
            clock=clock,
        )
        self._tasks = tasks
        self._gateways = gateways
        self._clock = clock

    def poller(self, kafka: KafkaSettings) -> LagPoller:
        """The part that asks the broker every second."""
        return LagPoller(
            kafka,
            lag_topics(self._tasks),
            on_lag=self.backlog.see,
            on_failure=self.backlog.failed,
            shared=SHARED_TOPICS,
            every=timedelta(seconds=1),
        )

    def degrading(self, shared: AdmissionStore) -> DegradingAdmissions:
        """The store that goes on alone while the shared one is away."""
        return DegradingAdmissions(
            shared,
            LocalAdmissions(self._clock, self.crowd),
            gateways=self._gateways,
            clock=self._clock,
            metrics=self.metrics,
        )

    def admission(
        self, store: AdmissionStore, *, book: LimitBook, chance: Callable[[], float]
    ) -> Admission:
        """The verb."""
        return Admission(
            book=book,
            store=store,
            backlog=self.backlog,
            crowd=self.crowd,
            metrics=self.metrics,
            chance=chance,
        )
