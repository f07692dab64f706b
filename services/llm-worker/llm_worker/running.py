"""One job under one delivery: attempts, from `started` to the terminal event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import structlog
from penstock_contracts.conversations import ConversationState
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import ChatOutput, JobError, Output
from penstock_contracts.requests import Charge
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.intake import Sender, VerifiedRequest
from penstock_kit.jobs.attempts import Begin
from penstock_kit.jobs.cancelling import Interruptible, JobCancelled
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.telemetry.tracing import TraceContext

from llm_worker.assembly import Answer
from llm_worker.billing import Bill
from llm_worker.coalescing import Coalescer, CoalescingPolicy
from llm_worker.errors import BadAnswer, ProviderFault
from llm_worker.formats import generated, repair_request
from llm_worker.metrics import LlmMetrics
from llm_worker.ports import Batch, Call, Conversations, PriceTable, Provider
from llm_worker.prompts import Prompt, messages_for, next_state
from llm_worker.providers_file import Providers
from llm_worker.retrying import AttemptPlan, job_error

__all__ = ["AttemptLedger", "JobRun", "RunnerParts"]

log = structlog.get_logger(__name__)

_INSIST_S = 120.0
"""Longest wait for Kafka or the blob store to take a result before the job is run again."""
_INSIST_PAUSE_S = 0.5

Reason = Literal["retry", "fallback", "repair", "redelivery"]


class AttemptLedger(Protocol):
    """The part of the kit's `Attempts` that a running job needs."""

    async def confirm(self, request: VerifiedRequest, begun: Begin) -> None:
        """Make sure, before a call is paid, that nobody has taken the job over; else `Busy`."""
        ...

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        """A further attempt within the same delivery."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """What every job is run with.

    Attributes:
        emitter: makes the voice of an attempt.
        keep_messages: how many messages a conversation keeps.
        random: 0 to 1, for the pauses between attempts.
    """

    providers: Mapping[str, Provider]
    catalog: Providers
    prices: PriceTable
    attempts: AttemptLedger
    emitter: Callable[[VerifiedRequest | Sender, int, TraceContext], JobEmitter]
    conversations: Conversations
    coalescing: CoalescingPolicy
    metrics: LlmMetrics
    clock: Clock
    worker: str
    keep_messages: int
    random: Callable[[], float]


class JobRun:
    """Runs a job to its end. Every path emits exactly one terminal event, or raises.

    `begun` is the attempt now under way: the one to hand back to the ledger.
    """

    def __init__(
        self,
        parts: RunnerParts,
        request: VerifiedRequest,
        prompt: Prompt,
        *,
        begun: Begin,
        history: ConversationState | None,
        running: Interruptible,
        trace: TraceContext,
    ) -> None:
        self.begun = begun
        self._parts = parts
        self._request = request
        self._prompt = prompt
        self._history = history
        self._running = running
        self._trace = trace
        self._at_most_once = request.request.charge is Charge.AT_MOST_ONCE
        self._bill = Bill(parts.prices)
        self._repair: list[dict[str, Any]] = []
        self._plan = AttemptPlan(
            prompt.chain,
            request.task_type.retry,
            at_most_once=self._at_most_once,
            random=parts.random,
        )
        self._emitter = parts.emitter(request, begun.attempt, trace)

    async def run(self) -> JobStatus:
        """Attempt after attempt; how the job ended.

        Raises:
            Retryable, Busy: Kafka or Redis is away, or the process drains; the record is kept.
        """
        reason: Reason = "redelivery"
        while True:
            try:
                await self._attempt(reason)
            except JobCancelled as cancel:
                return await self._cancelled(cancel)
            except Rejected as refused:
                return await self._failed(_unwritable(refused))
            except (ProviderFault, BadAnswer) as fault:
                following = self._plan.after(fault)
                error = job_error(fault)
                log.warning(
                    "attempt.failed",
                    job=self._request.job,
                    attempt=self.begun.attempt,
                    code=fault.code,
                    follows=following.reason if following else "failed",
                )
                if following is None:
                    return await self._failed(error)
                if isinstance(fault, BadAnswer):
                    self._repair = repair_request(fault)
                self._parts.metrics.retried(following.reason, fault.code)
                try:
                    await self._again(error, following.delay_s)
                except JobCancelled as cancel:
                    await self._next_attempt()
                    return await self._cancelled(cancel)
                reason = following.reason
            else:
                return JobStatus.COMPLETED

    async def _attempt(self, reason: Reason) -> None:
        """One call and what follows from it. The bill is right whatever happens."""
        alias = self._plan.model
        model = self._parts.catalog.models[alias]
        provider = self._parts.providers[model.provider]
        timeout = self._timeout(model.provider)
        await self._emitter.started(
            task=self._request.task,
            worker=self._parts.worker,
            model=alias,
            provider=model.provider,
            until=self._parts.clock.now() + timeout,
        )
        await self._parts.attempts.confirm(self._request, self.begun)
        if self.begun.had_output:
            await self._emitter.reset(reason)
        call = Call(
            model=self._parts.catalog.upstream(alias),
            messages=[*messages_for(self._prompt, self._history, model), *self._repair],
            options=self._prompt.options,
            job=self._request.job,
            attempt=self.begun.attempt,
            timeout_s=timeout.total_seconds(),
            traceparent=self._trace.traceparent,
        )
        answer = await self._call(provider, call, price=model.price, alias=alias)
        await self._complete(answer, alias, model.provider)

    def _timeout(self, provider: str) -> timedelta:
        return min(
            self._request.task_type.timeout, self._parts.catalog.providers[provider].total_timeout
        )

    async def _call(
        self, provider: Provider, call: Call, *, price: str | None, alias: str
    ) -> Answer:
        answer = Answer()
        coalescer = Coalescer(self._emitter.delta, self._parts.coalescing)
        observed = self._parts.metrics.call(alias, provider.name)
        was_charged = False

        def sink(batch: Batch) -> None:
            answer.add(batch)
            coalescer.add(batch)
            observed.arrived()

        try:
            await self._running.run(provider.run(call, sink, on_sent=observed.sent))
            observed.outcome, was_charged = "completed", True
            coalescer.flush()
        except ProviderFault as fault:
            observed.outcome, was_charged = fault.code, fault.was_charged
            raise
        except JobCancelled:
            observed.outcome, was_charged = "cancelled", observed.was_sent
            coalescer.flush()
            raise
        finally:
            coalescer.close()
            if was_charged:
                usage = answer.usage(call.messages)
                self._bill.add(usage, price=price)
                observed.usage(usage)
            observed.close()
        return answer

    async def _complete(self, answer: Answer, alias: str, provider: str) -> None:
        choices = answer.choices()
        output: Output
        if self._prompt.generate is None:
            output = ChatOutput(choices=choices)
        else:
            output = generated(self._prompt.generate, _only(choices))
        if self._request.request.conversation is not None and choices:
            state = next_state(
                self._request,
                self._prompt,
                self._history,
                choices[0],
                keep=self._parts.keep_messages,
                now=self._parts.clock.now(),
            )
            # Before `completed`: a crash in between repeats and replaces the turn, never loses it.
            await self._insist(lambda: self._parts.conversations.append(self._request.scope, state))
        usage = self._bill.usage()
        await self._insist(
            lambda: self._emitter.completed(output, usage=usage, model=alias, provider=provider)
        )

    async def _again(self, error: JobError, delay_s: float) -> None:
        await self._emitter.retrying(error, delay_s=delay_s, next_attempt=self.begun.attempt + 1)
        await self._running.pause(delay_s)
        await self._next_attempt()

    async def _next_attempt(self) -> None:
        had_output = self._emitter.has_output
        self.begun = await self._parts.attempts.begin_again(self.begun, had_output=had_output)
        self._emitter = self._parts.emitter(self._request, self.begun.attempt, self._trace)

    async def _failed(self, error: JobError) -> JobStatus:
        usage = self._bill.usage()
        await self._insist(lambda: self._emitter.failed(error, usage=usage))
        return JobStatus.FAILED

    async def _cancelled(self, cancel: JobCancelled) -> JobStatus:
        usage = self._bill.usage()
        await self._insist(
            lambda: self._emitter.cancelled(by=cancel.by, was_running=True, usage=usage)
        )
        return JobStatus.CANCELLED

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write what was paid for; a broker or store that is away for a while costs no second call.

        A repeated write has the same place in the stream, so readers drop the duplicate.

        Raises:
            Retryable: away for longer than that; the job is run again.
        """
        give_up_at = self._parts.clock.monotonic() + _INSIST_S
        while True:
            try:
                return await write()
            except Retryable as error:
                if self._parts.clock.monotonic() >= give_up_at:
                    raise
                log.warning("result.unwritten", job=self._request.job, error=type(error).__name__)
                await asyncio.sleep(_INSIST_PAUSE_S)


def _only(choices: list[Any]) -> Any:
    if not choices:
        raise BadAnswer("the answer is empty", code="answer_empty", text="")
    return choices[0]


def _unwritable(error: Rejected) -> JobError:
    return JobError(
        type="server_error",
        code=error.code,
        message=f"the answer could not be stored: {error}",
        param=error.field,
    )
