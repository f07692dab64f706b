"""A process that runs lanes on a real broker and prints what it does, for tests that kill it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import structlog
from penstock_kit.errors import Fatal
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.settings import KafkaSettings


def say(*words: str) -> None:
    """One line, at once: the process may be killed right after."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(bootstrap: str, protocol: str, topic: str, group: str) -> None:
    """Print `begin N suspect|fresh SECONDS` and `done N` per record until SIGTERM."""
    settings = KafkaSettings.model_validate(
        {"bootstrap": bootstrap, "group_protocol": protocol, "session_timeout": 6}
    )

    async def handle(delivery: Delivery) -> Outcome:
        number = (delivery.record.value or b"").decode()
        freshness = "suspect" if delivery.is_suspect else "fresh"
        say("begin", number, freshness, f"{time.monotonic():.4f}")
        await asyncio.sleep(0.05)
        say("done", number)
        return Done()

    def on_fatal(error: Fatal) -> None:
        say("fatal", str(error))

    producer = KafkaProducer(settings)
    lanes = Lanes(
        consumer=GroupConsumer(settings, group),
        producer=producer,
        handler=handle,
        topics=[topic],
        policy=LanePolicy(
            max_in_flight=20,
            session=settings.session_timeout,
            revoke_deadline=settings.session_timeout / 2,
        ),
        on_fatal=on_fatal,
        name="worker",
    )
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await producer.start()
    await lanes.start()
    await over.wait()
    await lanes.stop()
    await producer.stop()


if __name__ == "__main__":
    # One write per line: the poll thread logs while the loop prints.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory())
    asyncio.run(main(*sys.argv[1:]))
