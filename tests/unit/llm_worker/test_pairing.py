"""The order in which a provider gets calls of tools and their results."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_worker.pairing import paired


def messages(text: str) -> list[dict[str, Any]]:
    """Messages in short: `u`, `s`, `a` say their word, `a+x+y` calls x and y, `t:x` answers x."""
    found = []
    for word in text.split():
        name, *called = word.split("+")
        if name.startswith("t:"):
            found.append({"role": "tool", "tool_call_id": name[2:], "content": name})
            continue
        role = {"u": "user", "s": "system", "a": "assistant"}[name[0]]
        said = name if len(name) > 1 or not called else None
        message: dict[str, Any] = {"role": role, "content": said}
        if called:
            message["tool_calls"] = [{"id": call} for call in called]
        found.append(message)
    return found


def short(found: list[dict[str, Any]]) -> str:
    words = []
    for message in found:
        content = message["content"]
        if isinstance(content, list):
            content = "&".join(part["text"] for part in content)
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        words.append("+".join([content or "a", *calls]))
    return " ".join(words)


@pytest.mark.parametrize(
    ("given_", "sent"),
    [
        ("s1 u1 a1 u2", "s1 u1 a1 u2"),
        ("u1 a+x+y t:x t:y a1", "u1 a+x+y t:x t:y a1"),
        ("a+x+y t:x u1 t:y", "a+x+y t:x t:y u1"),
        ("u1 a+x u2 t:x", "u1 a+x t:x u2"),
        ("a+x a1+y t:x t:y", "a1+x+y t:x t:y"),
        ("a1+x a2 t:x", "a1&a2+x t:x"),
        ("a+x u1 a+y t:y t:x", "a+x t:x u1 a+y t:y"),
        ("a+x t:x a1 a+x u1 t:x", "a+x t:x a1 a+x t:x u1"),
        ("u1 t:x", "u1 t:x"),
        ("a1 a2 u1", "a1 a2 u1"),
    ],
)
def test_results_stand_behind_their_calls_and_all_else_stays(given_: str, sent: str) -> None:
    assert short(paired(messages(given_))) == sent


WORD = st.sampled_from(["u1", "s1", "a1", "a+x", "a2+y", "a+x+y", "t:x", "t:y"])


@given(st.lists(WORD, max_size=9))
def test_pairing_loses_nothing_and_twice_is_as_once(words: list[str]) -> None:
    sent = paired(messages(" ".join(words)))

    assert paired(sent) == sent
    said = [word for word in words if word[0] in "us" or word.startswith("t:")]
    assert sorted(m["content"] for m in sent if m["role"] != "assistant") == sorted(said)
    calls = [call for word in words if word[0] == "a" for call in word.split("+")[1:]]
    assert [call["id"] for m in sent for call in m.get("tool_calls") or ()] == calls
