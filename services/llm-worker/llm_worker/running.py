"""One job under one delivery: calls of models, until it ends or has to pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from penstock_contracts.conversations import ConversationState
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import ChatOutput, JobError, Output
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected
from penstock_kit.jobs.cancelling import JobCancelled
from penstock_kit.jobs.under_way import DeadlinePassed, Ended, Ending, JobUnderWay, Reason

from llm_worker.assembly import Answer
from llm_worker.billing import Bill
from llm_worker.coalescing import Coalescer, DeltaPace, Unheard
from llm_worker.dialogue import messages_for, next_state
from llm_worker.errors import BadAnswer, ProviderFault, Transient
from llm_worker.formats import generated, repair_request
from llm_worker.metrics import LlmMetrics
from llm_worker.ports import Batch, Call, Conversations, PriceTable, Provider
from llm_worker.prompts import Prompt
from llm_worker.providers_file import Providers
from llm_worker.retrying import AttemptPlan, Next, dead_of, job_error

__all__ = ["JobRun", "RunnerParts"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """What every job is run with.

    Attributes:
        kept_messages: how many messages a conversation of that name keeps.
        random: 0 to 1, for the pauses between attempts.
    """

    providers: Mapping[str, Provider]
    catalog: Providers
    prices: PriceTable
    conversations: Conversations
    delta_pace: DeltaPace
    metrics: LlmMetrics
    clock: Clock
    kept_messages: Callable[[str], int]
    random: Callable[[], float]


class JobRun:
    """Runs a job. One paid attempt, and others only where they follow at once: fallback, repair."""

    def __init__(
        self,
        parts: RunnerParts,
        job: JobUnderWay,
        prompt: Prompt,
        *,
        history: ConversationState | None,
    ) -> None:
        self._parts = parts
        self._job = job
        self._prompt = prompt
        self._history = history
        self._bill = Bill(parts.prices, job.plan.get("bill"))
        self._repair: list[dict[str, Any]] = []
        self._plan = AttemptPlan(
            prompt.chain,
            job.request.task_type.retry,
            at_most_once=job.is_charged_once,
            random=parts.random,
            before=job.plan.get("tries"),
        )

    async def run(self) -> Ending:
        """How the job ended, or that it goes on later.

        Raises:
            Retryable, Busy: Kafka or Redis is away; the record is kept.
        """
        reason: Reason = "retry" if self._job.plan else "redelivery"
        while True:
            try:
                await self._attempt(reason)
            except JobCancelled as cancel:
                return await self._job.cancelled(cancel.by, usage=self._bill.usage())
            except DeadlinePassed:
                return await self._job.expired()
            except Rejected as refused:
                return await self._job.fail(_unwritable(refused), usage=self._bill.usage())
            except (ProviderFault, BadAnswer) as fault:
                following = self._plan.after(fault)
                self._tell(fault, following)
                if following is None or following.delay_s > 0:
                    return await self._leave(fault, following)
                if isinstance(fault, BadAnswer):
                    self._repair = repair_request(fault)
                await self._job.go_on(job_error(fault))
                reason = following.reason
            else:
                return Ended(JobStatus.COMPLETED)

    def _tell(self, fault: ProviderFault | BadAnswer, following: Next | None) -> None:
        log.warning(
            "attempt.failed",
            job=self._job.request.job,
            attempt=self._job.begun.attempt,
            code=fault.code,
            follows=following.reason if following else "failed",
        )
        if following is not None:
            self._parts.metrics.retried(following.reason, fault.code)

    async def _leave(self, fault: ProviderFault | BadAnswer, following: Next | None) -> Ending:
        """This delivery is over: the job has failed, or goes on after a pause."""
        usage = self._bill.usage()
        if following is None:
            dead = dead_of(fault, attempts=self._job.begun.attempt)
            return await self._job.fail(job_error(fault), usage=usage, dead=dead)
        plan = {"tries": self._plan.state, "bill": self._bill.state}
        after = timedelta(seconds=following.delay_s)
        return await self._job.retry(job_error(fault), after, plan=plan, usage=usage)

    async def _attempt(self, reason: Reason) -> None:
        """One call and what follows from it. The bill is right whatever happens."""
        job = self._job
        alias = self._plan.model
        model = self._parts.catalog.models[alias]
        provider = self._parts.providers[model.provider]
        timeout = self._timeout(model.provider)
        await job.start(model=alias, provider=model.provider, timeout=timeout, reason=reason)
        call = Call(
            model=self._parts.catalog.upstream(alias),
            messages=[*messages_for(self._prompt, self._history, model), *self._repair],
            options=self._prompt.options,
            job=job.request.job,
            attempt=job.begun.attempt,
            timeout_s=timeout.total_seconds(),
            traceparent=job.trace.traceparent,
        )
        answer = await self._call(provider, call, price=model.price, alias=alias)
        await self._complete(answer, alias, model.provider)

    def _timeout(self, provider: str) -> timedelta:
        return min(
            self._job.request.task_type.timeout,
            self._parts.catalog.providers[provider].total_timeout,
        )

    async def _call(
        self, provider: Provider, call: Call, *, price: str | None, alias: str
    ) -> Answer:
        answer = Answer()
        coalescer = self._coalescer()
        observed = self._parts.metrics.call(alias, provider.name)
        was_charged = False

        def sink(batch: Batch) -> float:
            answer.add(batch)
            observed.arrived()
            return coalescer.add(batch)

        def on_sent() -> None:
            self._job.about_to_pay()
            observed.sent()

        try:
            await self._job.run(provider.run(call, sink, on_sent=on_sent))
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

    def _coalescer(self) -> Coalescer | Unheard:
        pace = self._parts.delta_pace
        if self._job.request.request.streamed is False:
            return Unheard(pace)
        return Coalescer(self._job.emitter.delta, pace)

    async def _complete(self, answer: Answer, alias: str, provider: str) -> None:
        job, request = self._job, self._job.request
        choices = answer.choices()
        output: Output
        if self._prompt.generate is None:
            _require(choices, provider)
            output = ChatOutput(choices=choices)
        else:
            output = generated(self._prompt.generate, _only(choices))
        if request.request.conversation is not None:
            state = next_state(
                request,
                self._prompt,
                self._history,
                choices[0],
                keep=self._parts.kept_messages(request.request.conversation),
                now=self._parts.clock.now(),
            )
            # Before `completed`: a crash in between repeats and replaces the turn, never loses it.
            await job.insist(lambda: self._parts.conversations.append(request.scope, state))
        usage = self._bill.usage()
        await job.insist(
            lambda: job.emitter.completed(output, usage=usage, model=alias, provider=provider)
        )


def _require(choices: list[Any], provider: str) -> None:
    if not choices:
        raise Transient(
            f"provider {provider!r} ended its answer without a choice; the job is tried again",
            code="answer_empty",
            was_charged=True,
        )


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
