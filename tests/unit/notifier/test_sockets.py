from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import orjson
import pytest
from penstock_contracts.control import CancelJob, ControlAdapter
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import CONTROL
from penstock_kit.auth.principal import Principal
from penstock_kit.streams.assembler import StreamAssembler, Taken
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.events import a_job, an_event
from tests.support.sockets import PROTOCOL, UPGRADE, Client, World, a_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as found:
        yield found


async def refused(world: World, **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(options.pop("url", world.url), **options):
            pass
    response = caught.value.response
    return response.status_code, response.body.decode()


async def test_connect_when_key_is_good_then_ready_and_subprotocol(world: World) -> None:
    async with connect(
        world.url,
        subprotocols=[PROTOCOL],
        additional_headers={"Authorization": "Bearer key-acme-ann"},
    ) as connection:
        ready = await Client(connection).hear()

        assert connection.subprotocol == PROTOCOL
        assert connection.response is not None
        assert "Sec-WebSocket-Extensions" not in connection.response.headers
    assert ready["type"] == "ready"
    assert (ready["tenant"], ready["user"]) == ("acme", "ann")


async def test_connect_when_no_subprotocol_is_offered_then_accepted(world: World) -> None:
    async with world.client(subprotocols=None) as client:
        await client.say(type="ping")

        assert await client.hear() == {"type": "pong"}


async def test_connect_when_subprotocol_is_foreign_then_sentence(world: World) -> None:
    status, sentence = await refused(world, subprotocols=["graphql-ws"])

    assert status == HTTPStatus.BAD_REQUEST
    assert "penstock.v1.json" in sentence


async def test_connect_when_path_is_wrong_then_not_found(world: World) -> None:
    status, sentence = await refused(world, url=world.url.replace("socket", "sockets"))

    assert status == HTTPStatus.NOT_FOUND
    assert "/v1/socket" in sentence


async def test_connect_when_target_is_no_url_then_not_found(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    writer.write(UPGRADE.replace(b"/v1/socket", b"//[?ticket=t1"))

    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "https://app.example.evil"])
async def test_connect_when_origin_is_not_listed_then_forbidden(origin: str) -> None:
    async with a_world(origins=["https://app.example"]) as world:
        status, sentence = await refused(world, origin=origin)

    assert status == HTTPStatus.FORBIDDEN
    assert origin not in sentence


async def test_connect_when_origin_is_null_and_any_is_allowed_then_forbidden() -> None:
    async with a_world(origins=["*"]) as world:
        status, _ = await refused(world, origin="null")

    assert status == HTTPStatus.FORBIDDEN


async def test_connect_when_origin_is_listed_then_accepted() -> None:
    async with (
        a_world(origins=["https://app.example"]) as world,
        world.client(origin="https://app.example") as client,
    ):
        await client.say(type="ping", id="7")

        assert await client.hear() == {"type": "pong", "id": "7"}


async def test_auth_when_key_is_unknown_then_accepted_and_closed_4401(world: World) -> None:
    async with world.client("nonsense") as client:
        error = await client.hear()
        code, reason = await client.closed()

    assert (error["type"], error["code"]) == ("error", "invalid_api_key")
    assert (code, reason) == (4401, "invalid_api_key")


async def test_auth_when_sent_as_first_message_then_ready(world: World) -> None:
    async with world.client(None) as client:
        await client.say(type="auth", token="key-acme-ann")

        assert (await client.hear())["type"] == "ready"


async def test_auth_when_sent_twice_then_error_and_the_socket_lives(world: World) -> None:
    async with world.client() as client:
        await client.say(type="auth", token="key-evil-eve")
        error = await client.hear()
        await client.say(type="ping")

        assert error["code"] == "already_authenticated"
        assert (await client.hear())["type"] == "pong"


async def test_auth_when_first_message_is_another_then_closed_4401(world: World) -> None:
    async with world.client(None) as client:
        await client.say(type="subscribe", all=True)

        assert (await client.hear())["code"] == "not_authenticated"
        assert (await client.closed())[0] == 4401


async def test_auth_when_nothing_comes_then_closed_4401() -> None:
    async with a_world(auth_timeout="PT0.05S") as world, world.client(None) as client:
        assert (await client.closed())[0] == 4401


async def test_ticket_when_good_then_ready_and_void_afterwards(world: World) -> None:
    world.tickets.known["t1"] = Principal("acme", "ann", Scope.USER, "k")
    async with world.client(None, query="?ticket=t1") as client:
        assert (await client.hear())["user"] == "ann"

    async with world.client(None, query="?ticket=t1") as client:
        assert (await client.hear())["code"] == "invalid_ticket"
        assert (await client.closed())[0] == 4401


async def test_ticket_when_redis_is_away_then_closed_with_a_time_to_come_back(
    world: World,
) -> None:
    world.tickets.is_away = True
    async with world.client(None, query="?ticket=t1") as client:
        assert (await client.hear())["code"] == "unavailable"
        code, reason = await client.closed()

    assert code == 1013
    assert orjson.loads(reason or "")["resume_after_ms"] > 0


async def test_subscribe_when_job_streams_then_snapshot_and_events(world: World) -> None:
    job = world.issue()
    run = world.run(job, "Hel", "lo")
    world.live(*run[:3])
    async with world.client() as client:
        await client.say(type="subscribe", job=job)
        subscribed, snapshot = await client.hear(), await client.hear()
        world.live(run[3])
        event = await client.hear()

    assert subscribed == {
        "type": "subscribed",
        "job": job,
        "recovered": True,
        "was_recovering": False,
        "position": {"attempt": 1, "seq": 2},
    }
    assert snapshot["type"] == "snapshot"
    assert snapshot["deltas"] == [{"choice": 0, "type": "text", "text": "Hel"}]
    assert list(event) == ["type", "job", "attempt", "seq", "event"]
    assert (event["attempt"], event["seq"]) == (1, 3)
    assert event["event"] == orjson.loads(run[3].value)


async def test_subscribe_when_position_is_given_then_only_what_follows(world: World) -> None:
    job = world.issue()
    world.live(*world.run(job, "a", "b", "c"))
    async with world.client() as client:
        await client.say(type="subscribe", job=job, position={"attempt": 1, "seq": 2})
        subscribed = await client.hear()
        events = await client.hear_all_of("event", count=2)

    assert subscribed["recovered"] is True
    assert subscribed["was_recovering"] is True
    assert [event["seq"] for event in events] == [3, 4]


async def test_subscribe_when_place_is_lost_then_told_apart_from_a_first_one(world: World) -> None:
    job = world.issue()
    world.live(an_event("delta", "1-9", job=job, text="late"))
    world.table.is_away = True
    async with world.client() as client:
        await client.say(type="subscribe", job=job, position={"attempt": 1, "seq": 2})
        subscribed = await client.hear()

    assert (subscribed["recovered"], subscribed["was_recovering"]) == (False, True)


async def test_stream_when_events_are_lost_on_the_way_then_was_recovering(world: World) -> None:
    job = world.issue()
    world.live(*world.run(job, "a"))
    async with world.client() as client:
        await client.say(type="subscribe", job=job)
        assert (await client.hear())["was_recovering"] is False
        assert (await client.hear())["type"] == "snapshot"
        world.table.is_away = True
        world.live(an_event("delta", "1-9", job=job, text="far"))
        again = await client.hear()

    assert (again["type"], again["recovered"], again["was_recovering"]) == (
        "subscribed",
        False,
        True,
    )


async def test_subscribe_when_job_was_just_accepted_then_empty_stream(world: World) -> None:
    job = world.issue()
    async with world.client() as client:
        await client.say(type="subscribe", job=job)
        subscribed, snapshot = await client.hear(), await client.hear()
        world.live(*world.run(job, "x"))
        events = await client.hear_all_of("event", count=3)

    assert subscribed["position"] == {"attempt": 0, "seq": 0}
    assert snapshot["status"] == "queued"
    assert [(event["attempt"], event["seq"]) for event in events] == [(0, 1), (1, 1), (1, 2)]


async def test_subscribe_when_job_is_unknown_or_foreign_then_the_same_words(world: World) -> None:
    of_bob = world.issue(1)
    of_evil = world.issue(2, tenant="evil")
    world.live(*world.run(of_bob, "secret", user="bob"))
    answers = []
    async with world.client() as client:
        for job in (of_bob, of_evil, a_job("never"), "no id at all"):
            await client.say(type="subscribe", job=job)
            answer = await client.hear()
            assert answer.pop("job") == job
            answers.append(answer)

    assert answers == [answers[0]] * 4
    assert answers[0]["code"] == "not_found"


async def test_subscribe_when_only_redis_could_tell_then_unavailable(world: World) -> None:
    world.table.is_away = True
    async with world.client() as client:
        await client.say(type="subscribe", job=a_job("of a direct producer"))
        answer = await client.hear()

    assert (answer["type"], answer["code"]) == ("error", "unavailable")
    assert "try again" in answer["message"]


async def test_subscribe_when_all_then_every_job_of_the_user_and_no_other(world: World) -> None:
    async with world.client() as client:
        await client.say(type="subscribe", all=True)
        subscribed = await client.hear()
        world.live(*world.run(world.issue(1), user="bob"))
        world.live(an_event("started", "1-1", job=a_job("evil"), tenant="evil"))
        world.live(*world.run(world.issue(2)))
        events = await client.hear_all_of("event", count=2)

    assert subscribed == {"type": "subscribed", "all": True}
    assert {event["job"] for event in events} == {world.issue(2)}


async def test_subscribe_when_all_and_one_then_each_event_once(world: World) -> None:
    job = world.issue()
    async with world.client() as client:
        await client.say(type="subscribe", all=True)
        await client.say(type="subscribe", job=job)
        assert (await client.hear())["type"] == "subscribed"
        assert (await client.hear())["job"] == job
        assert (await client.hear())["type"] == "snapshot"
        world.live(*world.run(job, "a"), an_event("completed", "1-3", job=job, text="a"))
        events = await client.hear_all_of("event", count=4)
        await client.say(type="ping")

        assert (await client.hear())["type"] == "pong"
    assert [event["event"]["type"] for event in events] == [
        "queued",
        "started",
        "delta",
        "completed",
    ]


async def test_subscribe_when_job_has_ended_then_result_and_the_place_is_free() -> None:
    async with a_world(max_subscriptions=1) as world, world.client() as client:
        for number in (1, 2):
            job = world.issue(number)
            world.live(*world.run(job, "a"), an_event("completed", "1-3", job=job, text="a"))
            await client.say(type="subscribe", job=job)
            assert (await client.hear())["type"] == "subscribed"
            snapshot = await client.hear()
            assert snapshot["status"] == "completed"
            assert snapshot["output"]["choices"][0]["text"] == "a"


async def test_subscribe_when_too_many_then_error(world: World) -> None:
    async with a_world(max_subscriptions=2) as world, world.client() as client:  # noqa: PLR1704 - smaller
        for number in (1, 2):
            await client.say(type="subscribe", job=world.issue(number))
            await client.hear()
            await client.hear()
        await client.say(type="subscribe", job=world.issue(3))

        assert (await client.hear())["code"] == "too_many_subscriptions"


async def test_unsubscribe_when_done_then_no_more_events(world: World) -> None:
    job = world.issue()
    async with world.client() as client:
        await client.say(type="subscribe", job=job)
        await client.hear()
        await client.hear()
        await client.say(type="unsubscribe", job=job)
        answer = await client.hear()
        world.live(*world.run(job, "a"))
        await client.say(type="ping")

        assert answer == {"type": "unsubscribed", "job": job}
        assert (await client.hear())["type"] == "pong"
    assert world.hub.subscriptions == 0


async def test_cancel_when_job_is_own_then_in_the_log_and_acknowledged(world: World) -> None:
    job = world.issue()
    world.live(*world.run(job))
    async with world.client() as client:
        await client.say(type="cancel", job=job)
        answer = await client.hear()

    (record,) = world.kafka.records(CONTROL.name)
    assert answer == {"type": "cancelling", "job": job}
    cancel = ControlAdapter.validate_json(record.value or b"")
    assert isinstance(cancel, CancelJob)
    assert (cancel.job, cancel.tenant, cancel.by) == (job, "acme", "ann")


async def test_cancel_when_job_is_foreign_then_not_found_and_nothing_written(
    world: World,
) -> None:
    job = world.issue(tenant="evil")
    async with world.client() as client:
        await client.say(type="cancel", job=job)

        assert (await client.hear())["code"] == "not_found"
    assert world.kafka.records(CONTROL.name) == []


async def test_cancel_when_owner_is_not_known_then_unavailable_and_nothing_written(
    world: World,
) -> None:
    world.table.is_away = True
    async with world.client() as client:
        await client.say(type="cancel", job=world.issue())
        answer = await client.hear()

    assert (answer["type"], answer["code"]) == ("error", "unavailable")
    assert "whose job" in answer["message"]
    assert world.kafka.records(CONTROL.name) == []


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "object"),
        ('{"type":"dance"}', "subscribe"),
        ('{"type":"subscribe"}', '"all": true'),
        ('{"type":"subscribe","job":"x","all":true}', "either"),
        ('{"type":"subscribe","job":7}', "job"),
        ('{"type":"subscribe","job":"x","position":{"attempt":-1,"seq":1}}', "position.attempt"),
        ('{"type":"subscribe","job":"x","jobs":[]}', "jobs"),
        ('{"type":"subscribe","all":true,"position":{"attempt":1,"seq":1}}', "position"),
        ('{"type":"cancel"}', "job"),
        ('{"type":"ping","id":NaN}', "JSON"),
        ("[" * 100, "JSON"),
    ],
)
async def test_message_when_malformed_then_error_names_the_fix_and_the_socket_lives(
    world: World, frame: str, words: str
) -> None:
    async with world.client() as client:
        await client.connection.send(frame)
        error = await client.hear()
        await client.say(type="ping")

        assert (error["type"], error["code"]) == ("error", "invalid_message")
        assert words in error["message"]
        assert (await client.hear())["type"] == "pong"


async def test_message_when_binary_then_closed_1003(world: World) -> None:
    async with world.client() as client:
        await client.connection.send(b"{}")

        assert (await client.closed())[0] == 1003


async def test_message_when_over_64_kib_then_closed_1009(world: World) -> None:
    async with world.client() as client:
        await client.connection.send("x" * (64 * 1024 + 1))

        assert (await client.closed())[0] == 1009


async def test_message_when_in_fragments_then_joined(world: World) -> None:
    async with world.client() as client:
        await client.connection.send(['{"type":', '"ping"', "}"])

        assert (await client.hear())["type"] == "pong"


async def test_messages_when_too_many_then_error_and_closed_4429(world: World) -> None:
    async with world.client() as client:
        for _ in range(41):
            await client.say(type="ping")
        heard = [await client.hear() for _ in range(41)]
        code, reason = await client.closed()

    assert heard[-1]["code"] == "rate_limited"
    assert code == 4429
    assert orjson.loads(reason or "")["resume_after_ms"] > 0


@pytest.mark.parametrize("limit", ["max_connections_per_user", "max_connections_per_tenant"])
async def test_connect_when_too_many_then_closed_4429_and_free_again(limit: str) -> None:
    async with a_world(**{limit: 1}) as world:
        async with world.client():
            async with world.client(None) as second:
                await second.say(type="auth", token="key-acme-ann")
                assert (await second.hear())["code"] == "too_many_connections"
                assert (await second.closed())[0] == 4429
            async with world.client("key-other-bob"):
                pass
        async with world.client():
            pass


async def test_connect_when_server_is_full_then_1013_and_nobody_is_blamed() -> None:
    async with (
        a_world(max_connections=1) as world,
        world.client("key-other-bob"),
        world.client(None) as second,
    ):
        await second.say(type="auth", token="key-acme-ann")
        error = await second.hear()
        code, reason = await second.closed()

    assert error["code"] == "unavailable"
    assert "user" not in error["message"]
    assert code == 1013
    assert orjson.loads(reason or "")["resume_after_ms"] > 0


async def test_credential_when_revoked_then_4403_and_when_expired_then_4401(
    world: World,
) -> None:
    async with world.client() as revoked, world.client("key-acme-bob") as other:
        world.keys.dead.add("key-acme-ann")
        world.tick(after_s=0)
        assert (await revoked.closed())[0] == 4403
        await other.say(type="ping")
        assert (await other.hear())["type"] == "pong"
    world.keys.expires_at = world.clock.now() + timedelta(seconds=10)
    async with world.client("key-acme-eve") as expired:
        world.tick(after_s=10)
        assert (await expired.closed())[0] == 4401


async def test_token_when_it_expires_then_only_its_own_sockets_end(world: World) -> None:
    world.keys.expires_at = world.clock.now() + timedelta(seconds=10)
    async with world.client() as old:
        world.keys.expires_at = world.clock.now() + timedelta(seconds=600)
        async with world.client() as fresh:
            world.tick(after_s=10)

            assert (await old.closed())[0] == 4401
            await fresh.say(type="ping")
            assert (await fresh.hear())["type"] == "pong"


async def test_silence_when_two_pings_are_not_answered_then_closed_4409(world: World) -> None:
    async with world.client() as client:
        transport = client.connection.transport
        transport.pause_reading()
        for _ in range(3):
            world.tick(after_s=26)
        transport.resume_reading()

        assert (await client.closed())[0] == 4409


async def test_silence_when_one_ping_is_not_answered_then_the_socket_lives(world: World) -> None:
    async with world.client() as client:
        transport = client.connection.transport
        transport.pause_reading()
        for _ in range(2):
            world.tick(after_s=26)
        transport.resume_reading()
        await client.say(type="ping")

        assert (await client.hear())["type"] == "pong"


async def test_age_when_highest_then_closed_with_a_time_to_come_back(world: World) -> None:
    async with world.client() as client:
        world.tick(after_s=3601)
        code, reason = await client.closed()

    assert code == 4410
    assert "resume_after_ms" in orjson.loads(reason or "")


async def test_drain_when_sockets_are_open_then_1012_with_different_hints() -> None:
    async with a_world() as world:
        async with world.client() as one, world.client() as two, world.client() as three:
            world.server.drain()
            ends = [await client.closed() for client in (one, two, three)]

        assert {code for code, _ in ends} == {1012}
        hints = {orjson.loads(reason or "")["resume_after_ms"] for _, reason in ends}
        assert len(hints) == 3
        assert all(len(reason or "") <= 123 for _, reason in ends)
        with pytest.raises(OSError, match=r"Connect call failed|Multiple"):
            await connect(world.url)


async def test_stop_when_a_client_does_not_say_goodbye_then_cut(world: World) -> None:
    async with world.client() as client:
        client.connection.transport.pause_reading()
        async with asyncio.timeout(6):
            await world.server.stop()
            await world.server.stop()
        client.connection.transport.resume_reading()


async def test_resume_when_cut_again_and_again_then_text_is_whole(world: World) -> None:
    job = world.issue()
    whole = [f"{number} " for number in range(40)]
    run = [*world.run(job, *whole), an_event("completed", "1-42", job=job, text="".join(whole))]
    reader = StreamAssembler()
    for cut in (3, 4, 15, 30, len(run)):
        async with world.client() as client:
            place = reader.position
            message: dict[str, Any] = {"type": "subscribe", "job": job}
            if place is not None:
                message["position"] = {"attempt": place.attempt, "seq": place.seq}
            await client.say(**message)
            subscribed = await client.hear()
            assert subscribed["recovered"] is True
            if place is None:
                reader.apply_snapshot(await client.hear())
            world.live(*run[:cut])
            world.table.fold(*run[: cut // 2])
            while reader.position is None or reader.position < run[cut - 1].position:
                assert reader.apply_event((await client.hear())["event"]) is Taken.APPLIED
        world.live(*run[: cut + 2])

    assert reader.text() == "".join(whole)
    assert reader.is_over
