"""Files: uploads in any number of pieces, what is refused by name, what is left after a cut."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from gateway.openai.files.form import FormLimits, FormReader, form_boundary
from gateway.openai.files.sweeping import FileSweeper
from penstock_contracts.codec import decode_model
from penstock_contracts.files import FileRecord
from penstock_contracts.topics import FILES
from penstock_kit.batches.memory import MemoryShelf

from tests.support.batches import BatchBench, chat_line, form, jsonl, look_together
from tests.support.gateway import GatewayBench, MemoryFiles, Reply, make_bench, run_app

FORM = "multipart/form-data; boundary=cut"


async def upload(bench: GatewayBench, data: bytes, **fields: str) -> Reply:
    body, kind = form(data, **fields)
    return await bench.call("POST", "/v1/files", body, headers={"content-type": kind})


def stored(bench: GatewayBench) -> dict[str, bytes]:
    contents = bench.stores.contents
    assert isinstance(contents, MemoryFiles)
    return contents.stored


async def test_upload_when_whole_then_it_is_in_the_log_and_comes_back_byte_for_byte() -> None:
    bench = await make_bench()
    data = b'{"a":1}\r\n--cu is no boundary\r\n' * 1000

    reply = await upload(bench, data, filename="C:\\work\\lines.jsonl")
    content = await bench.call("GET", f"/v1/files/{reply.json['id']}/content")

    assert reply.status == 200
    assert reply.json | {"id": ""} == {
        "id": "",
        "object": "file",
        "bytes": len(data),
        "created_at": int(bench.clock.now().timestamp()),
        "expires_at": int((bench.clock.now() + timedelta(days=30)).timestamp()),
        "filename": "lines.jsonl",
        "purpose": "batch",
        "status": "processed",
    }
    assert content.body == data
    assert content.headers["content-length"] == str(len(data))
    assert len(bench.kafka.records(FILES.name)) == 1


@pytest.mark.parametrize(
    "filename", ["данные 数据.jsonl", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.jsonl"]
)
async def test_upload_when_its_name_is_not_ascii_then_it_is_kept(filename: str) -> None:
    bench = await make_bench()

    reply = await upload(bench, b"{}", filename=filename)

    assert (reply.status, reply.json["filename"]) == (200, filename)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
async def test_form_when_it_comes_in_pieces_of_any_size_then_the_same_is_read(size: int) -> None:
    data = b"\r\n--cu\r\n--cut\r" * 50
    body, kind = form(data)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    reader = FormReader(receive, form_boundary(kind), FormLimits(max_file_bytes=10_000, stall_s=5))
    purpose = await reader.next_part()
    text = await reader.field()
    file = await reader.next_part()
    content = b"".join([piece async for piece in reader.file()])

    assert purpose is not None
    assert (purpose.name, text) == ("purpose", "batch")
    assert file is not None
    assert (file.name, file.filename, content) == ("file", "lines.jsonl", data)
    assert await reader.next_part() is None


def field(name: str, text: str = "x", **options: str) -> bytes:
    told = "".join(f'; {option}="{value}"' for option, value in options.items())
    return (
        f'--cut\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n{text}\r\n'.encode()
    )


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    ("before", "blanks"),
    [(b"A form:\r\n--cut?\r\n", b""), (b"", b" \t"), (b"\r\n", b"  "), (b"no --cut\r\n", b"")],
)
async def test_form_when_text_precedes_it_or_blanks_follow_a_boundary_then_it_is_read(
    before: bytes, blanks: bytes, size: int
) -> None:
    """As RFC 2046 lets it be."""
    body = (
        before + b"\r\n" * bool(before) + form(b"{}")[0].replace(b"--cut\r", b"--cut%b\r" % blanks)
    )
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    reader = FormReader(receive, b"cut", FormLimits(max_file_bytes=10_000, stall_s=5))
    names = []
    while (part := await reader.next_part()) is not None:
        names.append((part.name, await reader.field()))

    assert names == [("purpose", "batch"), ("file", "{}")]


async def test_upload_when_no_boundary_comes_then_it_is_not_read_on() -> None:
    bench = await make_bench()

    reply = await bench.call(
        "POST",
        "/v1/files",
        b"x" * 20_000,
        headers={"content-type": FORM},
    )

    assert (reply.status, reply.code) == (400, "malformed_form")


@pytest.mark.parametrize("size", [10, 10_000])
async def test_upload_when_its_file_has_no_filename_then_400_says_what_to_do(size: int) -> None:
    bench = await make_bench()
    body = field("purpose", "batch") + field("file", "x" * size) + b"--cut--\r\n"

    reply = await bench.call("POST", "/v1/files", body, headers={"content-type": FORM})

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (400, "invalid_type", "file")
    assert "filename" in reply.json["detail"]


@pytest.mark.parametrize(
    ("name", "param"), [("purpose", "purpose"), ("expires_after[seconds]", "expires_after.seconds")]
)
async def test_upload_when_a_field_comes_twice_then_400_names_it(name: str, param: str) -> None:
    bench = await make_bench()
    body = field(name, "1") + field(name, "2") + form(b"{}")[0]

    reply = await bench.call("POST", "/v1/files", body, headers={"content-type": FORM})

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (400, "invalid_value", param)
    assert stored(bench) == {}


async def test_upload_when_caller_hangs_up_in_the_middle_then_nothing_is_left() -> None:
    bench = await make_bench()
    body, kind = form(b"x" * 10_000)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:5_000], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(_message: Any) -> None:
        return

    scope = bench.scope("POST", "/v1/files", headers={"content-type": kind})
    await bench.frame(scope, receive, send)

    assert stored(bench) == {}
    assert bench.kafka.records(FILES.name) == []


async def test_upload_when_the_form_is_cut_then_400_and_nothing_is_left() -> None:
    bench = await make_bench()
    body, kind = form(b"x" * 10_000)

    reply = await bench.call("POST", "/v1/files", body[:-20], headers={"content-type": kind})

    assert (reply.status, reply.code) == (400, "upload_cut")
    assert stored(bench) == {}


async def test_upload_when_nothing_more_comes_then_408_and_nothing_is_left() -> None:
    bench = await make_bench(stream_stall=0.01)
    body, kind = form(b"x" * 10_000)
    scope = bench.scope("POST", "/v1/files", headers={"content-type": kind})
    sent: list[Any] = []
    pieces = [{"type": "http.request", "body": body[:100], "more_body": True}]

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    await bench.frame(scope, receive, send)

    assert sent[0]["status"] == 408
    assert stored(bench) == {}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"purpose": "fine-tune"}, "unsupported_value", "purpose"),
        ({"purpose": "cake"}, "invalid_value", "purpose"),
        ({"more": "x"}, "unknown_parameter", "more"),
        (
            {"expires_after[anchor]": "created_at"},
            "missing_required_parameter",
            "expires_after.seconds",
        ),
        (
            {"expires_after[seconds]": "3600"},
            "missing_required_parameter",
            "expires_after.anchor",
        ),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "invalid_value",
            "expires_after.anchor",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            "integer_below_min_value",
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"},
            "integer_above_max_value",
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            "invalid_type",
            "expires_after.seconds",
        ),
    ],
)
async def test_upload_when_a_field_is_wrong_then_refused_by_name_and_nothing_is_left(
    fields: dict[str, str], code: str, param: str
) -> None:
    bench = await make_bench()

    reply = await upload(bench, b"{}", **fields)

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (400, code, param)
    assert stored(bench) == {}
    assert bench.kafka.records(FILES.name) == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{}", "application/json", 415, "unsupported_media_type"),
        (b"", "multipart/form-data", 400, "malformed_form"),
        (b"nothing of a form", "multipart/form-data; boundary=cut", 400, "malformed_form"),
        (
            b"--cut\r\nX: y\r\n\r\n1\r\n--cut--\r\n",
            "multipart/form-data; boundary=cut",
            400,
            "malformed_form",
        ),
        (
            b'--cut\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--cut--\r\n',
            "multipart/form-data; boundary=cut",
            400,
            "missing_required_parameter",
        ),
    ],
)
async def test_upload_when_it_is_no_form_with_a_file_then_refused(
    body: bytes, kind: str, status: int, code: str
) -> None:
    bench = await make_bench()

    reply = await bench.call("POST", "/v1/files", body, headers={"content-type": kind})

    assert (reply.status, reply.code) == (status, code)


async def test_upload_when_too_large_then_413_with_and_without_announced_size() -> None:
    bench = await make_bench(max_file_bytes=2048)
    body, kind = form(b"x" * 70_000)
    scope = bench.scope("POST", "/v1/files", headers={"content-type": kind})

    announced = await upload(bench, b"x" * 70_000)
    silent = await run_app(bench.frame, scope, body)

    assert (announced.status, announced.code) == (413, "body_too_large")
    assert (silent.status, silent.code) == (413, "body_too_large")
    assert stored(bench) == {}


async def test_upload_when_key_is_repeated_then_same_file_and_another_one_is_422() -> None:
    bench = await make_bench()
    body, kind = form(b"one")
    headers = {"content-type": kind, "idempotency-key": "k"}

    first = await bench.call("POST", "/v1/files", body, headers=headers)
    again = await bench.call("POST", "/v1/files", body, headers=headers)
    other = await bench.call("POST", "/v1/files", form(b"two")[0], headers=headers)

    assert first.json == again.json
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert list(stored(bench).values()) == [b"one"]


@pytest.mark.parametrize("other", ["user", "life"])
async def test_upload_when_key_is_repeated_by_another_user_or_with_another_life_then_422(
    other: str,
) -> None:
    """Nobody is answered with somebody else's file, which the next look would not find."""
    bench = await make_bench()
    body, kind = form(b"one")
    headers = {"content-type": kind, "idempotency-key": "k"}
    await bench.call("POST", "/v1/files", body, headers=headers)

    key = bench.new_key(user="bob") if other == "user" else None
    life = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    again = form(b"one", **(life if other == "life" else {}))[0]
    reply = await bench.call("POST", "/v1/files", again, headers=headers, key=key)

    assert (reply.status, reply.code) == (422, "idempotency_key_reused")
    assert list(stored(bench).values()) == [b"one"]


@pytest.mark.parametrize("second", [b"one", b"two"])
async def test_upload_when_two_come_with_one_key_at_once_then_one_file_is_left(
    second: bytes,
) -> None:
    """Or the content of the other would outlive the file's deletion."""
    bench = await make_bench()
    look_together(bench.stores.files)
    kind = form(b"")[1]
    headers = {"content-type": kind, "idempotency-key": "k"}

    replies = await asyncio.gather(
        *(
            bench.call("POST", "/v1/files", form(data)[0], headers=headers)
            for data in (b"one", second)
        )
    )

    assert sorted(reply.status for reply in replies) == [200, 200 if second == b"one" else 422]
    taken = [reply for reply in replies if reply.status == 200]
    replayed = [reply.headers.get("idempotent-replayed") == "true" for reply in taken]
    assert replayed.count(False) == 1
    ((path, content),) = stored(bench).items()
    assert taken[0].json["bytes"] == len(content)
    newest = decode_model(FileRecord, bench.kafka.records(FILES.name)[-1].value or b"")
    assert newest.blob.path == path


async def test_file_when_deleted_then_gone_with_its_content() -> None:
    bench = await make_bench()
    file_id = (await upload(bench, b"one")).json["id"]

    gone = await bench.call("DELETE", f"/v1/files/{file_id}")
    found = await bench.call("GET", f"/v1/files/{file_id}")

    assert gone.json == {"id": file_id, "object": "file", "deleted": True}
    assert (found.status, found.code) == (404, "file_not_found")
    assert stored(bench) == {}
    assert bench.kafka.records(FILES.name)[-1].value is None


async def test_file_when_it_has_expired_then_not_found_and_swept_up() -> None:
    bench = await make_bench()
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file_id = (await upload(bench, b"one", **fields)).json["id"]

    (sweeper,) = bench.inside.sweepers
    assert isinstance(sweeper, FileSweeper)
    early = await sweeper.sweep()
    bench.clock.advance(timedelta(hours=1))
    found = await bench.call("GET", f"/v1/files/{file_id}")
    listed = await bench.call("GET", "/v1/files")

    assert found.status == 404
    assert listed.json["data"] == []
    assert (early, await sweeper.sweep(), stored(bench)) == (0, 1, {})
    assert bench.kafka.records(FILES.name)[-1].value is None


async def test_file_when_a_batch_still_reads_it_then_409_until_the_batch_is_over() -> None:
    batches = BatchBench(await make_bench())
    bench = batches.gateway
    batch = await batches.batch(chat_line("a"))
    file_id = (await batches.look(batch))["input_file_id"]
    free = await batches.upload(b"{}")

    refused = await bench.call("DELETE", f"/v1/files/{file_id}")
    other = await bench.call("DELETE", f"/v1/files/{free}")
    async with batches.worker():
        await batches.run()
    gone = await bench.call("DELETE", f"/v1/files/{file_id}")

    assert (refused.status, refused.code) == (409, "file_in_use")
    assert batch in refused.json["detail"]
    assert refused.headers["x-should-retry"] == "false"
    assert (other.status, gone.status) == (200, 200)
    assert (await batches.look(batch))["status"] == "completed"


async def test_file_when_batches_cannot_be_asked_then_it_is_not_deleted() -> None:
    bench = await make_bench()
    file_id = (await upload(bench, b"one")).json["id"]
    shelf = bench.stores.batches
    assert isinstance(shelf, MemoryShelf)
    shelf.is_away = True

    reply = await bench.call("DELETE", f"/v1/files/{file_id}")

    assert (reply.status, reply.code) == (503, "table_unavailable")
    assert list(stored(bench).values()) == [b"one"]


async def test_file_when_it_expires_while_a_batch_reads_it_then_it_is_swept_up_afterwards() -> None:
    batches = BatchBench(await make_bench())
    bench = batches.gateway
    hour = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file_id = await batches.upload(jsonl(chat_line("a")), **hour)
    batch = (await batches.create(file_id)).json["id"]
    for _ in range(150):  # more than a sweep asks for at once
        await batches.upload(b"{}", **hour)
    (sweeper,) = bench.inside.sweepers
    assert isinstance(sweeper, FileSweeper)

    bench.clock.advance(timedelta(hours=2))
    others = await sweeper.sweep()
    async with batches.worker():
        await batches.run()
    state = await batches.look(batch)
    afterwards = await sweeper.sweep()

    assert (state["status"], state["request_counts"]["completed"]) == ("completed", 1)
    assert (others, afterwards) == (150, 1)


async def test_file_when_of_another_tenant_or_user_then_not_found() -> None:
    bench = await make_bench()
    file_id = (await upload(bench, b"one")).json["id"]

    for key in (bench.new_key(tenant="other"), bench.new_key(user="bob")):
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            reply = await bench.call(method, f"/v1/files/{file_id}{path}", key=key)
            assert (reply.status, reply.code) == (404, "file_not_found")
        assert (await bench.call("GET", "/v1/files", key=key)).json["data"] == []
    assert list(stored(bench).values()) == [b"one"]


async def test_listing_when_asked_then_by_order_purpose_and_after() -> None:
    bench = await make_bench()
    made = []
    for name in ("a", "b", "c"):
        made.append((await upload(bench, name.encode())).json["id"])
        bench.clock.advance(timedelta(seconds=1))

    newest = await bench.call("GET", "/v1/files?limit=2")
    oldest = await bench.call("GET", f"/v1/files?order=asc&after={made[0]}&purpose=batch")
    outputs = await bench.call("GET", "/v1/files?purpose=batch_output")
    wrong = await bench.call("GET", "/v1/files?limit=0")

    assert [file["id"] for file in newest.json["data"]] == [made[2], made[1]]
    assert (newest.json["has_more"], newest.json["last_id"]) == (True, made[1])
    assert [file["id"] for file in oldest.json["data"]] == made[1:]
    assert outputs.json["data"] == []
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "limit")


async def test_file_when_store_is_away_then_503_and_nothing_is_promised() -> None:
    bench = await make_bench()
    contents = bench.stores.contents
    assert isinstance(contents, MemoryFiles)
    contents.is_away = True

    reply = await upload(bench, b"one")

    assert (reply.status, reply.code) == (503, "blobs_unavailable")
    assert bench.kafka.records(FILES.name) == []
