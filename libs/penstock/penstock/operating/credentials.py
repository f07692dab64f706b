"""API keys and producers, read from and written to `ai.credentials.v1`."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from penstock_contracts.credentials import ApiKey, CredentialAdapter, Producer
from penstock_contracts.topics import CREDENTIALS
from penstock_kit.auth.table import credential_record, revoked
from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.ports import Headers
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.table import TopicTable
from pydantic import ValidationError

__all__ = ["CredentialLog", "NoCredential"]

_SOURCE = "penstock/token"


class NoCredential(PenstockError):
    """There is no key or producer of that id; the message names the command that lists all."""


class CredentialLog:
    """All credentials of a deployment."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clock: Clock,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._new_id = new_id

    async def read(self) -> list[ApiKey | Producer]:
        """Every credential, void ones too, oldest first."""
        found: dict[str, ApiKey | Producer] = {}

        def on_change(key: str, value: bytes | None, headers: Headers) -> None:
            del headers
            if value is None:
                found.pop(key, None)
                return
            try:
                found[key] = CredentialAdapter.validate_json(value)
            except ValidationError:
                return  # services ignore it too

        table = TopicTable(self._settings, CREDENTIALS.name, on_change)
        try:
            await table.start()
        finally:
            await table.stop()
        return sorted(found.values(), key=lambda credential: credential.created_at)

    async def write(self, credential: ApiKey | Producer) -> None:
        """Make it known to every service, within moments.

        Raises:
            DeliveryUnknown: no acknowledgement; writing it again is harmless.
        """
        producer = KafkaProducer(self._settings, client_id=_SOURCE)
        await producer.start()
        try:
            await producer.send(
                credential_record(
                    credential, source=_SOURCE, now=self._clock.now(), event_id=self._new_id()
                )
            )
        finally:
            await producer.stop()

    async def revoke(self, credential_id: str) -> ApiKey | Producer:
        """Void it; services refuse it within moments.

        Raises:
            NoCredential: there is none of that id.
        """
        for credential in await self.read():
            if credential.id == credential_id:
                void = revoked(credential, now=self._clock.now())
                await self.write(void)
                return void
        raise NoCredential(
            f"there is no credential {credential_id!r}; `penstock token list` shows all ids"
        )
