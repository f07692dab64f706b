"""When the recorder says that nothing moves, and when it gives up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from penstock_kit.kafka.memory import MemoryKafka
from recorder.pulse import Pulse

from tests.support.clock import HandClock


class Patient:
    """A pulse whose thread polls every second, unless it is told to stop."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka(["events"])
        self.clock = HandClock()
        self.pulse = Pulse(self.clock)
        self.pulse.listen(self.kafka.consumer("recorder"))
        self.pulse.beat()

    def live(self, seconds: int, *, heard: bool) -> None:
        for _ in range(seconds):
            self.clock.advance(timedelta(seconds=1))
            self.kafka.faults.unheard_s = 0.0 if heard else self.kafka.faults.unheard_s + 1
            self.pulse.beat()

    def sleep(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.kafka.faults.unheard_s += seconds


@pytest.fixture
def patient() -> Patient:
    return Patient()


def test_pulse_when_brokers_answer_then_nothing_is_wrong(patient: Patient) -> None:
    patient.live(300, heard=True)

    assert patient.pulse.trouble() is None
    assert patient.pulse.beyond_repair() is None


def test_pulse_when_no_broker_answers_then_unready_and_later_beyond_repair(
    patient: Patient,
) -> None:
    patient.live(60, heard=True)

    patient.live(13, heard=False)
    assert "no broker has answered for 13 s" in (patient.pulse.trouble() or "")
    assert patient.pulse.beyond_repair() is None

    patient.live(28, heard=False)
    assert patient.pulse.is_unheard
    assert "no broker has answered for 41 s" in (patient.pulse.beyond_repair() or "")


def test_pulse_when_brokers_answer_again_then_ready(patient: Patient) -> None:
    patient.live(20, heard=False)

    patient.live(1, heard=True)

    assert patient.pulse.trouble() is None


def test_pulse_when_thread_is_silent_then_unready_and_beyond_repair_at_the_second_look(
    patient: Patient,
) -> None:
    patient.sleep(13)
    assert "has not polled for 13 s" in (patient.pulse.trouble() or "")

    patient.sleep(30)
    assert patient.pulse.beyond_repair() is None
    assert "has not polled for 43 s" in (patient.pulse.beyond_repair() or "")


def test_pulse_when_process_was_frozen_then_it_goes_on(patient: Patient) -> None:
    patient.sleep(300)
    assert patient.pulse.beyond_repair() is None  # the loop woke up first

    patient.pulse.beat()

    assert patient.pulse.trouble() is None
    assert patient.pulse.beyond_repair() is None
