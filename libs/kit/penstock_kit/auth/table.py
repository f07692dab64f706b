"""Credentials in memory, kept current from `ai.credentials.v1`, and their records."""

from __future__ import annotations

from datetime import datetime

import structlog
from penstock_contracts.catalog import CE_CREDENTIAL
from penstock_contracts.codec import encode_model
from penstock_contracts.credentials import ApiKey, CredentialAdapter, Producer
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.topics import CREDENTIALS
from pydantic import ValidationError

from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.kafka.ports import Headers, OutRecord
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.table import TopicTable

__all__ = ["CredentialTable", "credential_record", "revoked"]

log = structlog.get_logger(__name__)


class CredentialTable:
    """A Part: after `start` all credentials written so far are known; later ones soon."""

    def __init__(self, settings: KafkaSettings, *, keys: ApiKeys, producers: ProducerKeys) -> None:
        self._keys = keys
        self._producers = producers
        self._table = TopicTable(settings, CREDENTIALS.name, self.apply)

    @property
    def table(self) -> TopicTable:
        """The reader below, for health checks."""
        return self._table

    async def start(self) -> None:
        """Return when the topic has been read to its end."""
        await self._table.start()

    async def stop(self) -> None:
        """Stop reading; what is known stays."""
        await self._table.stop()

    def apply(self, key: str, value: bytes | None, headers: Headers = ()) -> None:
        """Take one record in. One that is broken changes nothing: the older word stands."""
        del headers
        if value is None:
            self._keys.remove(key)
            self._producers.remove(key)
            return
        try:
            credential = CredentialAdapter.validate_json(value)
        except ValidationError as error:
            log.error(  # noqa: TRY400 - a traceback would quote the record
                "credential.malformed", key=key, problems=error.error_count()
            )
            return
        if credential.id != key:
            log.error("credential.wrong_key", key=key, credential=credential.id)
        elif isinstance(credential, ApiKey):
            self._keys.put(credential)
        else:
            self._producers.put(credential)


def credential_record(
    credential: ApiKey | Producer, *, source: str, now: datetime, event_id: str
) -> OutRecord:
    """The record that makes a credential known to every service."""
    envelope = Envelope(
        id=event_id,
        source=source,
        type=CE_CREDENTIAL,
        time=now,
        subject=credential.id,
        tenant=credential.tenant if isinstance(credential, ApiKey) else None,
    )
    return OutRecord(
        topic=CREDENTIALS.name,
        key=credential.id.encode(),
        value=encode_model(credential),
        headers=encode_headers(envelope),
    )


def revoked(credential: ApiKey | Producer, *, now: datetime) -> ApiKey | Producer:
    """The same credential, void; written like a new one and kept, so that lists can show it."""
    return credential.model_copy(update={"revoked_at": now})
