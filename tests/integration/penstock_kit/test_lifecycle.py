"""The lifecycle with a real process and real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest


@asynccontextmanager
async def program(behaviour: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.service_program",
        behaviour,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Process, word: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while line := (await process.stdout.readline()).decode().strip():
            if line.startswith(word):
                return line
    pytest.fail(f"the program never said {word!r}")


async def end(process: Process) -> tuple[int, list[str], str]:
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode().split("\n"), err.decode()


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains_in_reverse_order_and_exits_0(number: signal.Signals) -> None:
    async with program("") as process:
        port = int((await said(process, "ready")).split()[1])
        assert b"200 OK" in await get(port, "/readyz")

        process.send_signal(number)
        status, out, err = await end(process)

    assert status == 0
    assert out == ["draining", "second stops", "first stops", ""]
    assert "Traceback" not in err


async def test_idle_keep_alive_connection_does_not_delay_the_stop() -> None:
    async with program("") as process:
        port = int((await said(process, "ready")).split()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")

        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status, _, _ = await end(process)
        writer.close()

    assert status == 0
    assert time.monotonic() - before < 3


async def test_readiness_says_draining_while_a_part_still_stops() -> None:
    async with program("slow-stop") as process:
        port = int((await said(process, "ready")).split()[1])
        process.send_signal(signal.SIGTERM)
        await said(process, "second stops")

        answer = await get(port, "/readyz")

        assert b"503" in answer
        assert b'"draining"' in answer
        assert b"200 OK" in await get(port, "/healthz")


async def test_second_signal_ends_at_once_with_1() -> None:
    async with program("slow-stop") as process:
        await said(process, "ready")
        process.send_signal(signal.SIGTERM)
        await said(process, "second stops")

        process.send_signal(signal.SIGTERM)
        status, _, err = await end(process)

    assert status == 1
    assert '"reason":"second signal"' in err


async def test_drain_timeout_ends_with_1_although_a_thread_still_runs() -> None:
    async with program("slow-stop-alone") as process:
        await said(process, "ready")

        process.send_signal(signal.SIGTERM)
        status, _, err = await end(process)

    assert status == 1
    assert '"reason":"time-out"' in err


async def test_part_that_cannot_stop_is_told_and_the_others_still_stop() -> None:
    async with program("bad-stop") as process:
        await said(process, "ready")

        process.send_signal(signal.SIGTERM)
        status, out, err = await end(process)

    assert status == 1
    assert "first stops" in out
    assert "service.stop_failed" in err


async def test_signal_during_start_stops_what_had_begun_and_exits_0() -> None:
    async with program("slow-start") as process:
        await said(process, "second starts")

        process.send_signal(signal.SIGTERM)
        status, out, _ = await end(process)

    assert status == 0
    assert out == ["draining", "second stops", "first stops", ""]


async def test_thread_that_hangs_does_not_keep_a_drained_process_alive() -> None:
    async with program("thread-hangs") as process:
        await said(process, "second starts")

        process.send_signal(signal.SIGTERM)
        status, out, _ = await end(process)

    assert status == 0
    assert "first stops" in out


async def test_part_that_refuses_to_start_exits_1_with_its_sentence() -> None:
    async with program("refuse") as process:
        status, out, err = await end(process)

    assert status == 1
    assert "the moon is not full; wait for it" in err
    assert "Traceback" not in err
    assert "first stops" in out


async def test_part_that_crashes_at_start_exits_1_and_tells_once() -> None:
    async with program("crash") as process:
        status, out, err = await end(process)

    assert status == 1
    assert err.count("ZeroDivisionError: nobody foresaw this") == 1
    assert "first stops" in out


async def test_fatal_fault_later_drains_and_exits_1() -> None:
    async with program("fail-later") as process:
        status, out, err = await end(process)

    assert status == 1
    assert "the broker fenced us" in err
    assert "first stops" in out


async def test_bad_settings_print_one_sentence_and_exit_1() -> None:
    async with program("bad-settings") as process:
        status, out, err = await end(process)

    assert (status, out) == (1, [""])
    assert err == "refused to start: PENSTOCK_MOON must be full; set PENSTOCK_MOON=full\n"
