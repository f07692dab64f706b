"""Makes the endpoints of `/v1/files`."""

from __future__ import annotations

from penstock_contracts.ids import JobIds

from gateway.openai.files.desk import FileDesk
from gateway.openai.files.endpoints import FileEndpoints
from gateway.openai.files.in_use import FilesInUse
from gateway.openai.files.stores import BatchStores
from gateway.openai.files.sweeping import FileSweeper
from gateway.openai.wiring import FrontDoor

__all__ = ["build_file_desk", "build_files", "build_sweeper"]


def build_file_desk(door: FrontDoor, stores: BatchStores) -> FileDesk:
    """The verbs; batches use them as well."""
    native = door.native
    return FileDesk(
        contents=stores.contents,
        shelf=stores.files,
        in_use=FilesInUse(stores.batches),
        producer=native.producer,
        ids=JobIds(door.settings.auth.id_secret.get_secret_value().encode()),
        clock=native.clock,
        randomness=native.randomness,
    )


def build_sweeper(door: FrontDoor, desk: FileDesk, stores: BatchStores) -> FileSweeper:
    """What deletes expired files."""
    return FileSweeper(
        desk=desk,
        shelf=stores.files,
        in_use=FilesInUse(stores.batches),
        clock=door.native.clock,
    )


def build_files(door: FrontDoor, desk: FileDesk) -> FileEndpoints:
    """The endpoints."""
    group = door.settings.gateway
    return FileEndpoints(
        authenticator=door.native.authenticator,
        desk=desk,
        bodies=door.native.bodies,
        max_file_bytes=group.max_file_bytes,
        stall=group.stream_stall,
    )
