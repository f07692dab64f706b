"""A loop that is stuck is noticed from the other thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta

from penstock_kit.lanes.loop_watch import LoopWatch
from penstock_kit.lanes.policy import LanePolicy
from structlog.testing import capture_logs


def looked_at(watch: LoopWatch, *moments: float) -> list[str]:
    """Look once a second up to each moment, without letting the loop run; the events told."""
    with capture_logs() as told:
        for moment in moments:
            watch.look(moment)
    return [str(line["event"]) for line in told]


def never(status: int) -> None:
    raise AssertionError(f"exit with {status}")


async def test_look_when_loop_is_stuck_then_told_at_12_s_and_exit_at_40_s() -> None:
    exits: list[int] = []
    watch = LoopWatch(LanePolicy(), "test", exits.append)
    watch.start(asyncio.get_running_loop(), 0.0)

    assert looked_at(watch, *range(1, 14)) == []
    assert looked_at(watch, *range(14, 35)) == ["lanes.loop_stuck"]
    assert watch.stuck_s > 12
    assert exits == []
    assert looked_at(watch, *range(35, 43)) == ["lanes.loop_dead"]
    assert exits == [1]


async def test_look_when_loop_answers_then_silence_starts_anew() -> None:
    watch = LoopWatch(LanePolicy(), "test", never)
    watch.start(asyncio.get_running_loop(), 0.0)

    for second in range(1, 200):
        assert looked_at(watch, float(second)) == []
        await asyncio.sleep(0)
    assert watch.stuck_s <= 1


async def test_look_when_this_thread_was_away_itself_then_its_absence_does_not_count() -> None:
    watch = LoopWatch(LanePolicy(stall_fatal=timedelta(seconds=20)), "test", never)
    watch.start(asyncio.get_running_loop(), 0.0)
    looked_at(watch, 1.0, 1.5)

    assert looked_at(watch, 300.0, 300.5) == []
    assert watch.stuck_s < 12


STUCK = """
import asyncio, time
from datetime import timedelta
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import LanePolicy

async def handle(_):
    time.sleep(60)

async def main():
    kafka = MemoryKafka(["t", "dead"])
    producer = kafka.producer()
    await producer.start()
    ms = timedelta(milliseconds=1)
    policy = LanePolicy(
        revoke_deadline=10 * ms, session=100 * ms, stall_unready=500 * ms, stall_fatal=1500 * ms
    )
    lanes = Lanes(
        consumer=kafka.consumer("g"), producer=producer, handler=handle, topics=["t"],
        policy=policy, dead_topic="dead", on_fatal=print, name="stuck",
    )
    await lanes.start()
    await producer.send(OutRecord("t", b"k", b"v"))
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_process_when_a_handler_blocks_its_loop_then_it_names_the_place_and_exits() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=40, check=False
    )

    assert answer.returncode == 1
    assert "lanes.loop_stuck" in answer.stdout
    assert "handle" in answer.stdout.partition("lanes.loop_stuck")[2]
