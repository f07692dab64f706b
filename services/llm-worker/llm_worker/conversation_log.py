"""Conversations: `ai.conversations.v1` is the truth, Redis the view that turns are read from."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, Protocol

import structlog
from penstock_contracts.catalog import CE_CONVERSATION
from penstock_contracts.codec import encode_model
from penstock_contracts.conversations import ConversationState
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.topics import CONVERSATIONS
from penstock_kit.errors import Busy, Fatal
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import Headers, OutRecord, Producer
from penstock_kit.redis_client import RedisClient, Script, redis_errors
from penstock_kit.tail.table import OnChange
from penstock_kit.tenancy import CONVERSATIONS_COMPLETE, TenantScope
from pydantic import ValidationError

__all__ = ["ConversationLog", "TopicReader", "conversation_record", "topic_key"]

log = structlog.get_logger(__name__)

_MAX_RECORD_BYTES = 768 * 1024
"""Below the record limit of the topic, with room for headers."""
_RECENT = 2_000
"""States of this process kept in memory, for the time while Redis does not take them."""
_BATCH = 500

_WRITE_LATE = """
local held = redis.call('GET', KEYS[1])
if held then
    local is_read, state = pcall(cjson.decode, held)
    if is_read and type(state) == 'table' and (tonumber(state.turn) or 0) > tonumber(ARGV[2]) then
        return 0
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""
"""Write a state that Redis should have long had, unless it holds a later turn by now."""


class _View(NamedTuple):
    """A state as Redis holds it."""

    name: str
    value: bytes
    turn: int


class TopicReader(Protocol):
    """Reads a compacted topic to its end on `start`, then can be stopped."""

    async def start(self) -> None:
        """Return when everything has been handed over."""
        ...

    async def stop(self) -> None:
        """Stop reading."""
        ...


class ConversationLog:
    """Implements `Conversations`.

    A turn is in the log before it counts, then written to Redis. If Redis does not take it, this
    process keeps it in memory and tries again before it reads; the records of a conversation come
    to this process as long as it owns their partition. If Redis lost everything, or somebody took
    its mark away, the first look-up reads the whole topic back (conversation jobs wait meanwhile,
    others do not).
    """

    def __init__(
        self,
        *,
        producer: Producer,
        redis: RedisClient,
        reader: Callable[[OnChange], TopicReader],
        ttl_s: int,
    ) -> None:
        self._producer = producer
        self._redis = redis
        self._late = Script(redis, _WRITE_LATE)
        self._reader = reader
        self._ttl_s = ttl_s
        self._recent: OrderedDict[str, ConversationState] = OrderedDict()
        self._unwritten: dict[str, _View] = {}
        self._rebuilding: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """End a read-back that still runs, and give Redis what it has not taken so far."""
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            await asyncio.wait({self._rebuilding})
            self._rebuilding = None
        try:
            with redis_errors("writing conversations"):
                while self._unwritten:
                    await self._write_late()
        except TableAway:
            log.warning("conversation.left_behind", waiting=len(self._unwritten))

    async def load(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        """The newest state; see the port."""
        key = scope.conversation_key(conversation)
        with redis_errors("reading a conversation"):
            if self._unwritten:
                await self._write_late()
            raw, is_complete = await self._redis.mget(key, CONVERSATIONS_COMPLETE)
        if is_complete is None:
            await self._rebuild()
            with redis_errors("reading a conversation"):
                raw = await self._redis.get(key)
        recent = self._recent.get(key)
        if raw is None:
            return recent
        stored = ConversationState.model_validate_json(raw)
        return recent if recent is not None and recent.turn > stored.turn else stored

    async def append(self, scope: TenantScope, state: ConversationState) -> None:
        """Make the state durable; see the port."""
        record = conversation_record(state)
        assert record.value is not None
        await self._producer.send(record)
        key = scope.conversation_key(state.conversation)
        self._recent[key] = state
        self._recent.move_to_end(key)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        try:
            with redis_errors("writing a conversation"):
                await self._redis.set(key, record.value, ex=self._ttl_s)
        except TableAway:
            self._unwritten[key] = _View(key, record.value, state.turn)
            log.warning("conversation.unwritten", waiting=len(self._unwritten))

    async def _write_late(self) -> None:
        waiting = list(islice(self._unwritten.values(), _BATCH))
        await self._write(waiting)
        for view in waiting:
            if self._unwritten.get(view.name) is view:
                del self._unwritten[view.name]

    async def _write(self, views: Iterable[_View]) -> None:
        def call(view: _View) -> tuple[list[str], list[bytes | str | int | float]]:
            return [view.name], [view.value, view.turn, self._ttl_s]

        await self._late.run_many([call(view) for view in views])

    async def _rebuild(self) -> None:
        """Read the topic back; all who need it wait for one read.

        Raises:
            Busy: Redis or Kafka went away meanwhile.
        """
        if self._rebuilding is None or self._rebuilding.done():
            self._rebuilding = asyncio.create_task(self._read_back(), name="read conversations")
        await asyncio.shield(self._rebuilding)

    async def _read_back(self) -> None:
        states: dict[str, bytes] = {}

        def on_record(key: str, value: bytes | None, headers: Headers) -> None:
            del headers
            if value is None:
                states.pop(key, None)
            else:
                states[key] = value

        reader = self._reader(on_record)
        try:
            await reader.start()
        except Fatal as error:
            raise Busy(f"conversations cannot be read back yet: {error}") from error
        finally:
            await reader.stop()
        with redis_errors("restoring conversations"):
            records = iter(states.items())
            while batch := list(islice(records, _BATCH)):
                await self._write(filter(None, (_view(key, value) for key, value in batch)))
            await self._redis.set(CONVERSATIONS_COMPLETE, b"1")
        log.info("conversations.read_back", conversations=len(states))


def conversation_record(state: ConversationState) -> OutRecord:
    """The record of a state; its oldest messages are left out where it would not fit."""
    while len(value := encode_model(state)) > _MAX_RECORD_BYTES and len(state.messages) > 1:
        rest = {"messages": state.messages[1:], "items": state.items[1:]}
        state = state.model_copy(update=rest)
    envelope = Envelope(
        id=f"{state.job}/conversation",
        source="/penstock/llm-worker",
        type=CE_CONVERSATION,
        time=state.at,
        subject=state.conversation,
        tenant=state.tenant,
    )
    return OutRecord(CONVERSATIONS.name, topic_key(state).encode(), value, encode_headers(envelope))


def topic_key(state: ConversationState) -> str:
    """`<tenant>/<conversation>`; a slash inside the tenant's id is written as %2F.

    Else tenant `a` with conversation `b/c` would share a key with tenant `a/b`.
    """
    return f"{state.tenant.replace('/', '%2F')}/{state.conversation}"


def _view(key: str, value: bytes) -> _View | None:
    """What Redis should hold; None for a record that is not what its key says."""
    try:
        state = ConversationState.model_validate_json(value)
    except ValidationError as error:
        log.error("conversation.malformed", problems=error.error_count())  # noqa: TRY400 - a traceback would quote messages
        return None
    if topic_key(state) != key:
        log.error("conversation.wrong_key", key=key)
        return None
    name = TenantScope(state.tenant).conversation_key(state.conversation)
    return _View(name, value, state.turn)
