from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.settings import LogSettings
from penstock_kit.telemetry.logs import configure_logs, job_context
from penstock_kit.telemetry.redaction import REDACTED, Redactor
from penstock_kit.telemetry.repeats import RepeatFilter
from pydantic import SecretStr

CANARY = "canary-7f3a"
API_KEY = "pk_00ff00ff00ff00ff." + "9a" * 32
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Log:
    """A configured log and what it wrote."""

    def __init__(self, **settings: Any) -> None:
        self.stream = io.StringIO()
        configure_logs(
            LogSettings(**settings), "gateway", "gw-1", known_secrets=[CANARY], stream=self.stream
        )
        self.logger = structlog.get_logger("penstock_kit.test")

    def text(self) -> str:
        return self.stream.getvalue()

    def only(self) -> dict[str, Any]:
        (line,) = self.text().splitlines()
        entry: dict[str, Any] = json.loads(line)
        return entry


def test_entry_is_one_line_of_json_with_who_and_where() -> None:
    log = Log()

    with job_context(tenant="acme", job="job_1", trace_id="t"):
        log.logger.info("job.done", ms=12, share=0.5, ok=True, nothing=None)

    entry = log.only()
    assert entry["event"] == "job.done"
    assert (entry["service"], entry["instance"], entry["level"]) == ("gateway", "gw-1", "info")
    assert (entry["tenant"], entry["job"], entry["trace_id"]) == ("acme", "job_1", "t")
    assert (entry["ms"], entry["share"], entry["ok"], entry["nothing"]) == (12, 0.5, True, None)
    assert entry["logger"] == "penstock_kit.test"
    assert entry["timestamp"].endswith("Z")


def test_line_that_cannot_be_written_does_not_fail_what_it_tells_of() -> None:
    log = Log()
    log.stream.close()

    log.logger.info("x")


def test_logger_that_was_used_before_writes_where_lines_go_now() -> None:
    before = Log()
    before.logger.info("x")
    now = Log()

    before.logger.info("y")

    assert now.only()["event"] == "y"


def test_context_ends_with_its_block() -> None:
    log = Log()
    with job_context(tenant="acme", job="job_1"):
        pass

    log.logger.info("x")

    assert "tenant" not in log.only()


def test_level_is_kept() -> None:
    log = Log(level="warning")

    log.logger.info("quiet")
    logging.getLogger("any.library").info("quiet")

    assert log.text() == ""


def test_library_lines_take_the_same_chain() -> None:
    log = Log()

    logging.getLogger("uvicorn.error").warning("key %s", API_KEY, extra={"token": "abc"})

    entry = log.only()
    assert entry["event"] == f"key pk_00ff00ff00ff00ff.{REDACTED}"
    assert entry["token"] == REDACTED
    assert (entry["service"], entry["logger"]) == ("gateway", "uvicorn.error")


@pytest.mark.parametrize(
    "name", ["openai", "openai._base_client", "httpx2", "httpcore2.http11", "aiokafka.cluster"]
)
def test_talkative_libraries_are_toned_down_also_at_debug(name: str) -> None:
    log = Log(level="debug")

    logging.getLogger(name).info("request body: %s", "my prompt")
    logging.getLogger("uvicorn.access").warning("GET /v1/socket?ticket=abc")

    assert log.text() == ""


def test_library_that_repeats_itself_is_heard_once() -> None:
    log = Log()

    for waited_ms in range(50):
        logging.getLogger("penstock_kit.kafka.client").error("refused after %dms", waited_ms)
        logging.getLogger("penstock_kit.jobs").error("refused")

    assert log.text().count("refused after 0ms") == 1
    assert log.text().count('"refused"') == 50


def test_repeated_line_is_heard_again_after_a_while_and_tells_how_many_were_not() -> None:
    now = 100.0
    repeats = RepeatFilter("aiokafka", now=lambda: now, each_s=10.0)

    def hear(text: str) -> logging.LogRecord | None:
        record = logging.LogRecord("aiokafka.conn", logging.ERROR, "", 0, text, None, None)
        return record if repeats.filter(record) else None

    assert hear("gone")
    assert hear("other")
    now = 109.0
    assert hear("gone") is None
    now = 111.0
    again = hear("gone")

    assert again is not None
    assert vars(again)["left_out"] == 1


@pytest.mark.parametrize(
    "secret",
    [
        CANARY,
        API_KEY.partition(".")[2],
        "sk-proj-abcDEF123456",
        "Bearer abcdef123456",
        JWT,
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(24) + "aB1",
    ],
)
def test_secret_in_any_place_is_removed(secret: str) -> None:
    log = Log()
    carried = f"pk_00ff00ff00ff00ff.{secret}" if secret == API_KEY.partition(".")[2] else secret

    try:
        try:
            raise ValueError(f"cannot use {carried}!")  # noqa: TRY301 - a chain of errors is wanted
        except ValueError as error:
            raise RuntimeError(f"failed with {carried}") from error
    except RuntimeError:
        log.logger.exception(
            f"event {carried}",  # noqa: G004 - secrets in the event name are the point
            plain=carried,
            nested={"list": [{"deep": f"x {carried} y"}], carried: 1},
            error=ValueError(carried),
            wrapped=(carried,),
        )

    assert secret not in log.text()
    assert secret.replace("\n", "\\n") not in log.text()
    assert "RuntimeError" in log.only()["exception"]


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "api-key", "API_KEY", "openai_api_key", "password"),
        *("ticket", "client_secret", "id_secret", "access_token", "set-cookie", "signature"),
    ],
)
def test_value_under_a_secret_name_is_removed(name: str) -> None:
    assert Redactor()(None, "", {name: "short"})[name] == REDACTED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_tokens", 17),
        ("tokens", "17"),
        ("credential", "00ff00ff00ff00ff"),
        ("job", "job_" + "0f" * 21),
        ("sha256", "0f" * 32),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("uuid", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("topic", "ai.chat.requests.v1.high"),
        ("url", "https://api.example.com/v1/chat/completions"),
        ("word", "antidisestablishmentarianism_and_more"),
        ("at", "2026-01-01T00:00:00.000000+00:00"),
        ("pod", "llm-worker-7d9f8b6c5d-x2x4z"),
    ],
)
def test_ordinary_values_stay_readable(name: str, value: Any) -> None:
    assert Redactor()(None, "", {name: value})[name] == value


@pytest.mark.parametrize("name", ["prompt", "messages", "payload", "body", "documents"])
def test_payload_is_never_logged(name: str) -> None:
    assert Redactor()(None, "", {name: ["text"]})[name] == "[payload]"


def test_password_in_a_url_and_secret_in_a_query_are_removed() -> None:
    text = Redactor().text("redis://user:hunter2@host:1/0 GET /v1/socket?ticket=abcd1234&x=1")

    assert text == f"redis://user:{REDACTED}@host:1/0 GET /v1/socket?ticket={REDACTED}&x=1"


def test_control_characters_cannot_forge_a_line_or_drive_a_terminal() -> None:
    log = Log(format="console")

    try:
        raise ValueError("a\n2026-01-01 [info] forged\r\x1b[2J\u2028x")  # noqa: TRY301 - to be logged
    except ValueError:
        log.logger.exception("x\nforged", **{"k\n": "a\r\n\x1b]0;title\x07"})

    lines = log.text().splitlines()
    assert "\x1b]0" not in log.text()
    assert "\x1b[2J" not in log.text()
    assert not any(line.startswith(("2026-01-01 [info]", "forged")) for line in lines)


def test_values_are_capped() -> None:
    redactor = Redactor()

    clean = redactor(
        None,
        "",
        {"long": "ab " * 100_000, "many": list(range(1000)), "raw": b"x" * 10, "n": 1 << 80},
    )

    assert len(clean["long"]) < 2_100
    assert "(300000 characters)" in clean["long"]
    assert len(clean["many"]) == 50
    assert clean["raw"] == "[10 bytes]"
    assert clean["n"] == str(1 << 80)


def test_odd_values_never_break_a_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise OSError("no")

    loop: list[Any] = []
    loop.append(loop)
    log = Log()

    log.logger.info(
        "odd",
        broken=Broken(),
        loop=loop,
        half="\ud83d",
        secret_str=SecretStr("x"),
        nan=float("nan"),
    )

    entry = log.only()
    assert "OSError in __str__" in entry["broken"]
    assert "nested too deep" in json.dumps(entry["loop"])
    assert entry["secret_str"] == "**********"


@given(
    value=st.recursive(st.text() | st.integers() | st.floats() | st.binary() | st.none(), st.lists)
)
def test_whatever_is_logged_becomes_one_line_of_json(value: Any) -> None:
    log = Log()

    log.logger.info("any", value=value, text=str(value))

    assert log.only()["event"] == "any"
