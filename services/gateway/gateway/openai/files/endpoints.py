"""HTTP in: files. An upload is never in memory, and what is cut off leaves nothing behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.parts import BlobRef
from penstock_kit.auth.principal import Authenticator, Principal
from penstock_kit.tenancy import TenantScope
from starlette.requests import Request

from gateway.admission.bodies import BodyBudget
from gateway.callers import authenticated
from gateway.errors import ApiError
from gateway.http import Answer, StreamAnswer, named_headers
from gateway.openai.files.desk import FileDesk, NewFile
from gateway.openai.files.fields import field_param, upload_fields
from gateway.openai.files.form import FormLimits, FormPart, FormReader, form_boundary
from gateway.openai.files.paging import page_ask, purpose_of
from gateway.openai.files.views import file_view, page_view
from gateway.parameters import idempotency_key

__all__ = ["FileEndpoints"]

_FORM_BYTES = 64 * 1024
"""Room for the form around a file."""
_HELD_BYTES = 12 * 1024 * 1024
"""What an upload has in memory at most: two parts on their way to the store, and one that fills."""
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')
_MAX_NAME_CHARS = 255


@dataclass(slots=True)
class _Form:
    """What of an upload has come so far."""

    fields: dict[str, str]
    filename: str = ""
    blob: BlobRef | None = None


class FileEndpoints:
    """`/v1/files`."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        desk: FileDesk,
        bodies: BodyBudget,
        max_file_bytes: int,
        stall: timedelta,
    ) -> None:
        self._authenticator = authenticator
        self._desk = desk
        self._bodies = bodies
        self._max_file_bytes = max_file_bytes
        self._stall_s = stall.total_seconds()

    async def create_file(self, request: Request) -> Answer:
        """`POST /v1/files`."""
        principal = authenticated(self._authenticator, request)
        headers = named_headers(request.scope)
        key = idempotency_key(headers.get("idempotency-key"))
        boundary = form_boundary(headers.get("content-type"))
        size = self._announced(headers.get("content-length", ""))
        scope = TenantScope(principal.tenant)
        form = _Form({})
        file_id = self._desk.new_id(principal.tenant, key)
        limits = FormLimits(max_file_bytes=self._max_file_bytes, stall_s=self._stall_s)
        reader = FormReader(request.receive, boundary, limits)
        with self._bodies.share() as share:
            share.hold(min(size, _HELD_BYTES))
            try:
                await self._read(reader, form, scope, file_id)
                new = _new_file(form, principal, file_id, key)
            except BaseException:
                if form.blob is not None:
                    await self._desk.discard(scope, form.blob)
                raise
        taken = await self._desk.take(new)
        replayed = [(b"idempotent-replayed", b"true")] if taken.is_replay else []
        return Answer.of(200, file_view(taken.file), replayed)

    async def list_files(self, request: Request) -> Answer:
        """`GET /v1/files`."""
        principal = authenticated(self._authenticator, request)
        params = request.query_params
        known = ("after", "limit", "order", "purpose")
        ask = page_ask(params, known=known, most=10_000, default=10_000)
        page = await self._desk.page(principal, ask, purpose=purpose_of(params))
        return Answer.of(200, page_view(page))

    async def get_file(self, request: Request) -> Answer:
        """`GET /v1/files/{file_id}`."""
        principal = authenticated(self._authenticator, request)
        file = await self._desk.find(principal, request.path_params["file_id"])
        return Answer.of(200, file_view(file))

    async def get_file_content(self, request: Request) -> StreamAnswer:
        """`GET /v1/files/{file_id}/content`."""
        principal = authenticated(self._authenticator, request)
        file = await self._desk.find(principal, request.path_params["file_id"])
        name = _UNSAFE.sub("_", file.filename)
        headers = (
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % file.blob.size_bytes),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"x-content-type-options", b"nosniff"),
        )
        return StreamAnswer(await self._desk.content(file), headers=headers, stall_s=self._stall_s)

    async def delete_file(self, request: Request) -> Answer:
        """`DELETE /v1/files/{file_id}`."""
        principal = authenticated(self._authenticator, request)
        file = await self._desk.find(principal, request.path_params["file_id"])
        await self._desk.delete(file)
        return Answer.of(200, {"id": file.id, "object": "file", "deleted": True})

    async def _read(
        self, reader: FormReader, form: _Form, scope: TenantScope, file_id: str
    ) -> None:
        while (part := await reader.next_part()) is not None:
            if part.filename is None:
                _check_field(part, form)
                form.fields[part.name] = await reader.field()
                continue
            _check_file_part(part, form)
            form.filename = _plain_name(part.filename)
            form.blob = await self._desk.store(scope, file_id, reader.file())

    def _announced(self, content_length: str) -> int:
        """The size of the body as far as it was said; what is surely too large is not read."""
        if not content_length.isdigit():
            return _HELD_BYTES
        size = int(content_length[:20])
        if size > self._max_file_bytes + _FORM_BYTES:
            message = f"a file has at most {self._max_file_bytes} bytes; split it"
            raise ApiError("body_too_large", message, headers={"connection": "close"})
        return size


def _check_field(part: FormPart, form: _Form) -> None:
    if part.name == "file":
        message = (
            "Invalid type for 'file': expected a file, but got a string instead. Give the part a "
            "filename."
        )
        raise ApiError("invalid_type", message, param="file")
    if part.name in form.fields:
        param = field_param(part.name)
        raise ApiError("invalid_value", f"Invalid '{param}': send it once.", param=param)


def _check_file_part(part: FormPart, form: _Form) -> None:
    if part.name != "file":
        name = part.name[:64]
        raise ApiError("unknown_parameter", f"Unknown parameter: '{name}'.", param=name)
    if form.blob is not None:
        raise ApiError("invalid_value", "Invalid 'file': send one file at a time.", param="file")


def _new_file(form: _Form, principal: Principal, file_id: str, key: str | None) -> NewFile:
    fields = upload_fields(form.fields)
    if form.blob is None:
        raise ApiError(
            "missing_required_parameter", "Missing required parameter: 'file'.", param="file"
        )
    if form.blob.size_bytes == 0:
        raise ApiError("invalid_value", "Invalid 'file': the file is empty.", param="file")
    return NewFile(
        id=file_id,
        principal=principal,
        filename=form.filename,
        blob=form.blob,
        life=fields.life,
        idempotency_key=key,
    )


def _plain_name(filename: str) -> str:
    """The last segment of what may be a path of the caller's machine."""
    name = filename.replace("\\", "/").rpartition("/")[2].strip()
    return "".join(sign for sign in name if sign.isprintable())[:_MAX_NAME_CHARS] or "upload"
