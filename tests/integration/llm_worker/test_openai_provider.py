"""The adapter against the fake provider: every way in which a provider can behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from llm_worker.assembly import Answer
from llm_worker.errors import Permanent, ProviderFault, Transient
from llm_worker.openai_provider import OpenAIProvider
from llm_worker.ports import Batch, Call, Sink
from llm_worker.providers_file import ProviderEntry

from tests.support.fake_provider.script import Script
from tests.support.fake_provider.server import FakeProvider
from tests.support.llm_worker_rig import eventually

FAST = Script(ttft_ms=1, rate=0)


@pytest.fixture(name="server")
async def server_fixture() -> AsyncIterator[FakeProvider]:
    server = FakeProvider(defaults=FAST)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(name="connect")
async def connect_fixture(
    server: FakeProvider,
) -> AsyncIterator[Callable[..., OpenAIProvider]]:
    made: list[OpenAIProvider] = []

    def connect(**changes: Any) -> OpenAIProvider:
        entry = {"base_url": server.base_url, "api_key": "sk-canary-4711", **changes}
        provider = OpenAIProvider("fake", ProviderEntry.model_validate(entry))
        made.append(provider)
        return provider

    yield connect
    for provider in made:
        await provider.close()


def a_call(script: str = "", *, timeout_s: float = 10, **options: Any) -> Call:
    return Call(
        model=f"fake:{script}" if script else "fake",
        messages=[{"role": "user", "content": "hello"}],
        options=options,
        job="job_1",
        attempt=1,
        timeout_s=timeout_s,
    )


def resting(answer: Answer, rest_s: float) -> Sink:
    """Takes the answer, and rests so long after each batch."""

    def sink(batch: Batch) -> float:
        answer.add(batch)
        return asyncio.get_running_loop().time() + rest_s

    return sink


async def answer_to(provider: OpenAIProvider, call: Call, *, rest_s: float = 0.0) -> Answer:
    answer = Answer()
    await provider.run(call, resting(answer, rest_s), on_sent=lambda: None)
    return answer


async def test_reader_that_rests_gets_all_and_is_woken_by_the_end(
    connect: Callable[..., OpenAIProvider],
) -> None:
    async with asyncio.timeout(10):
        answer = await answer_to(connect(), a_call("tokens=20;rate=200"), rest_s=3600)

    assert len(answer.choices()[0].text.split()) == 20


async def test_what_came_before_a_break_is_read_also_by_a_reader_that_rested(
    connect: Callable[..., OpenAIProvider],
) -> None:
    answer, call = Answer(), a_call("tokens=20;rate=200;cut=7")

    with pytest.raises(Transient):
        await connect().run(call, resting(answer, 0.5), on_sent=lambda: None)

    assert len(answer.choices()[0].text.split()) == 7


async def test_what_came_before_a_fault_in_the_stream_is_handed_on_with_it(
    connect: Callable[..., OpenAIProvider],
) -> None:
    answer, call = Answer(), a_call("tokens=20;rate=200;error=5")

    with pytest.raises(Transient) as caught:
        await connect().run(call, resting(answer, 0.5), on_sent=lambda: None)

    assert caught.value.code == "provider_failed"
    assert len(answer.choices()[0].text.split()) == 5


async def test_stream_when_all_is_well_gives_text_finish_and_usage(
    connect: Callable[..., OpenAIProvider], server: FakeProvider
) -> None:
    answer = await answer_to(connect(), a_call("tokens=5"))

    [choice] = answer.choices()
    assert choice.text == "alf bra cha del ech "
    assert choice.finish_reason == "stop"
    usage = answer.usage([])
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (2, 5, False)
    charged, ended = server.journal.lines
    assert (charged["event"], charged["job"], charged["attempt"]) == ("charged", "job_1", "1")
    assert (ended["how"], ended["tokens"]) == ("completed", 5)


async def test_stream_with_tools_reasoning_and_choices_keeps_them_apart(
    connect: Callable[..., OpenAIProvider],
) -> None:
    provider = connect()

    tools = await answer_to(provider, a_call("tools=2"))
    thoughts = await answer_to(provider, a_call("reasoning=2;tokens=1"))
    refusal = await answer_to(provider, a_call("refusal=1;tokens=2"))
    many = await answer_to(provider, a_call("tokens=2", n=3))

    [choice] = tools.choices()
    assert [(call.id, call.name, call.arguments) for call in choice.tool_calls] == [
        ("call_0", "lookup", '{"query": "x"}'),
        ("call_1", "lookup", '{"query": "x"}'),
    ]
    assert choice.finish_reason == "tool_calls"
    assert thoughts.choices()[0].reasoning == "think0 think1 "
    assert refusal.choices()[0].refusal == "alf bra "
    assert [choice.text for choice in many.choices()] == ["alf bra "] * 3


async def test_stream_without_usage_is_estimated(connect: Callable[..., OpenAIProvider]) -> None:
    answer = await answer_to(connect(), a_call("tokens=5;usage=0"))

    usage = answer.usage([{"content": "12345"}])
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (2, 5, True)


@pytest.mark.parametrize(
    ("script", "family", "code", "was_charged"),
    [
        ("status=429;retry_after=7", Transient, "provider_rate_limited", False),
        ("status=500", Transient, "provider_failed", False),
        ("status=503", Transient, "provider_failed", False),
        ("status=400", Permanent, "provider_refused_request", False),
        ("status=401", Permanent, "provider_auth_failed", False),
        ("status=404", Permanent, "provider_model_not_found", False),
        ("redirect=http://127.0.0.1:9/", Permanent, "provider_redirected", False),
        ("cut=3", Transient, "provider_stream_cut", True),
        ("end=3", Transient, "provider_stream_cut", True),
        ("cut=0", Transient, "provider_stream_cut", True),
        ("error=3", Transient, "provider_failed", True),
        ("malformed=3", Transient, "provider_bad_stream", True),
        ("hang=0", Transient, "provider_first_token_timeout", True),
        ("hang=1", Transient, "provider_first_token_timeout", True),
        ("hang=4", Transient, "provider_idle_timeout", True),
        ("loris_ms=20", Transient, "provider_first_token_timeout", True),
        ("tokens=1000;rate=100", Permanent, "provider_total_timeout", True),
        ("flood_bytes=100000000", Permanent, "response_too_large", True),
        ("huge_bytes=5000000", Permanent, "response_too_large", True),
        ("line_bytes=5000000", Permanent, "response_too_large", True),
    ],
)
async def test_misbehaviour_becomes_one_fault_and_leaves_no_connection(
    connect: Callable[..., OpenAIProvider],
    server: FakeProvider,
    *,
    script: str,
    family: type[ProviderFault],
    code: str,
    was_charged: bool,
) -> None:
    # Deadlines that are not the point are long: a busy machine must not reach them first.
    short, long = timedelta(milliseconds=300), timedelta(seconds=8)
    provider = connect(
        first_token_timeout=short if "first_token" in code else long,
        idle_timeout=short if "idle" in code else long,
        max_response_bytes=1_000_000,
    )

    with pytest.raises(family) as caught:
        await answer_to(provider, a_call(script, timeout_s=1.5 if "total" in code else 20))

    assert caught.value.code == code
    assert caught.value.was_charged is was_charged
    assert "sk-canary" not in str(caught.value)
    await nothing_runs(server)


async def test_retry_after_is_read(connect: Callable[..., OpenAIProvider]) -> None:
    with pytest.raises(Transient) as caught:
        await answer_to(connect(), a_call("status=429;retry_after=7"))

    assert caught.value.retry_after_s == 7


async def test_garbage_between_events_is_skipped(connect: Callable[..., OpenAIProvider]) -> None:
    answer = await answer_to(connect(), a_call("tokens=5;garbage=2"))

    assert answer.choices()[0].text == "alf bra cha del ech "


async def test_refused_connection_was_never_charged(
    connect: Callable[..., OpenAIProvider],
) -> None:
    provider = connect(base_url="http://127.0.0.1:9/v1")

    with pytest.raises(Transient) as caught:
        await answer_to(provider, a_call())

    assert (caught.value.code, caught.value.was_charged) == ("provider_unreachable", False)


@pytest.mark.parametrize("script", ["hang=0", "hang=1", "hang=4", "tokens=10000;rate=100"])
async def test_cancel_closes_the_socket_within_250_ms(
    connect: Callable[..., OpenAIProvider], server: FakeProvider, script: str
) -> None:
    running = asyncio.create_task(answer_to(connect(), a_call(script)))
    await eventually(lambda: server.journal.running)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    running.cancel()
    await nothing_runs(server)

    assert loop.time() - begun < 0.25
    assert server.journal.lines[-1]["how"] == "aborted"
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_connection_is_reused_after_a_complete_answer(
    connect: Callable[..., OpenAIProvider], server: FakeProvider
) -> None:
    provider = connect()

    for _ in range(5):
        await answer_to(provider, a_call("tokens=2"))

    assert len([c for c in server._connections if c.transport is not None]) == 1


async def test_more_calls_than_slots_wait_their_turn(
    connect: Callable[..., OpenAIProvider], server: FakeProvider
) -> None:
    provider = connect(max_concurrency=2)
    most = 0

    def watch(_batch: Batch) -> float:
        nonlocal most
        most = max(most, server.journal.running)
        return 0.0

    await asyncio.gather(
        *(provider.run(a_call("tokens=3;rate=100"), watch, on_sent=lambda: None) for _ in range(6))
    )

    assert most == 2
    assert server.journal.calls == 6


async def nothing_runs(server: FakeProvider) -> None:
    await eventually(lambda: not server.journal.running)
