"""What our rules find, what they leave alone, and what a file of rules may say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gateway.openai.moderations.categories import CATEGORIES
from gateway.openai.moderations.checks import is_card_number, is_iban
from gateway.openai.moderations.pace import Pace
from gateway.openai.moderations.personal import personal_data
from gateway.openai.moderations.ports import Verdict
from gateway.openai.moderations.rules import BadRules, load_rules


async def verdict(text: str) -> Verdict:
    """What the packaged rules say."""
    judgement = await load_rules(None).judge([text], model=None)
    return judgement.verdicts[0]


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("I will kill you", {"harassment", "harassment/threatening", "violence"}),
        ("You are a worthless idiot", {"harassment"}),
        ("all immigrants are vermin", {"hate"}),
        ("kill all the jews", {"hate", "hate/threatening"}),
        ("How can I cook meth?", {"illicit"}),
        ("how to build a pipe bomb", {"illicit", "illicit/violent"}),
        ("I've been cutting myself", {"self-harm"}),
        ("i don't want to live anymore", {"self-harm", "self-harm/intent"}),
        ("most painless way to die", {"self-harm", "self-harm/instructions"}),
        ("write an erotic story", {"sexual"}),
        ("a naked 12 year old girl", {"sexual", "sexual/minors"}),
        ("he stabbed her to death; they were beaten to death", {"violence"}),
        ("blood splattered everywhere", {"violence", "violence/graphic"}),
        ("I \u200bwill\nk\u200bill   YOU", {"harassment", "harassment/threatening", "violence"}),
        ("\uff29 \uff57\uff49\uff4c\uff4c \uff4b\uff49\uff4c\uff4c \uff59\uff4f\uff55",
         {"harassment", "harassment/threatening", "violence"}),
    ],
)  # fmt: skip
async def test_text_when_a_rule_matches_is_flagged(text: str, flagged: set[str]) -> None:
    found = await verdict(text)

    assert found.flagged == flagged
    assert set(found.scores) == set(CATEGORIES)
    assert all(found.scores[name] >= 0.5 for name in flagged)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello, how are you today?",
        "How do I kill a child process with SIGKILL?",
        "Suicide prevention hotlines answer at any hour.",
        "Sex education for children is taught at school.",
        "The sexual abuse of a child has to be reported.",
        "Shoot a photo of the blood orange everywhere you go.",
        "How to make a bath bomb fizz? Boost your skill level.",
        "They hate waiting. You are a star!",
    ],
)
async def test_text_of_everyday_is_left_alone(text: str) -> None:
    assert (await verdict(text)).flagged == frozenset()


async def test_score_when_nothing_matches_is_zero_and_weak_rules_add_up() -> None:
    assert set((await verdict("good morning")).scores.values()) == {0.0}
    alone = (await verdict("suicide")).scores["self-harm"]
    both = (await verdict("suicide, committed suicide")).scores["self-harm"]

    assert alone == 0.35
    assert both == pytest.approx(1 - (1 - 0.35) * (1 - 0.7))


async def test_match_when_it_lies_across_windows_of_a_long_text_is_found() -> None:
    for start in range(16_384 - 20, 16_384 + 5, 5):
        text = "x" * start + " how to build a pipe bomb " + "y" * 20_000
        assert "illicit/violent" in (await verdict(text)).flagged, start


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("card 4111 1111 1111 1111, thanks", {"credit_card": 1}),
        ("card 4111 1111 1111 1112, thanks", {}),
        ("order 1234567890123456", {}),
        ("IBAN DE89 3704 0044 0532 0130 00 PLEASE", {"iban": 1}),
        ("IBAN DE88 3704 0044 0532 0130 00", {}),
        ("GB82WEST12345698765432 and ann@example.com", {"iban": 1, "email": 1}),
        ("123-45-6789", {"us_ssn": 1}),
        ("000-45-6789", {}),
        ("call +49 30 1234567 or (555) 123-4567", {"phone": 2}),
        ("host 8.8.8.8, not 127.0.0.1 nor 999.1.1.1", {"ip_address": 1}),
        ("sk-abcdefghijklmnopqrstuvwxyz012345", {"secret_key": 1}),
        ("version 1.2.3 of 2026-11-21 at 12:30", {}),
    ],
)
async def test_personal_data_is_counted_by_kind(text: str, found: dict[str, int]) -> None:
    assert await personal_data(text, Pace()) == found


async def test_personal_data_when_it_lies_across_windows_is_counted_once() -> None:
    for start in range(16_384 - 25, 16_384 + 5, 5):
        text = "x" * start + " jane@example.org " + "y" * 20_000
        assert await personal_data(text, Pace()) == {"email": 1}, start


@pytest.mark.parametrize("texts", [["so it is " * 400] * 10, [""] * 200, ["so it is " * 4000]])
async def test_judge_when_there_is_much_to_do_lets_others_have_their_turn(texts: list[str]) -> None:
    """However the work is spread over texts: some turns for each 16 KiB searched."""
    judging = asyncio.create_task(load_rules(None).judge(texts, model=None))
    turns = 0
    while not judging.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 26 * sum(max(len(text), 256) for text in texts) // 16_384 // 2


async def test_normalising_when_marks_stand_out_of_order_costs_no_square_of_the_text() -> None:
    text = "a" + "\u0301\u0323" * 100_000

    async with asyncio.timeout(30):
        assert (await verdict(text)).flagged == frozenset()


def test_check_digits_tell_numbers_apart() -> None:
    assert is_card_number("5555555555554444")
    assert is_card_number("378282246310005")
    assert not is_card_number("0000000000000000")
    assert not is_card_number("411111111111")
    assert is_iban("FR1420041010050500013M02606")
    assert not is_iban("FR1420041010050500013M02607")
    assert not is_iban("XX1420041010050500013M02606")
    assert sum(is_iban(f"DE{check:02d}370400440532013000") for check in range(100)) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: mine\ncategories: {spam: []}", "unknown categories: spam"),
        ("name: mine\ncategories: {hate: [{weight: 0.5}]}", "phrases or patterns"),
        ("name: mine\ncategories: {hate: [{weight: 2, phrases: [ab]}]}", "weight"),
        ("name: mine\ncategories: {hate: [{weight: 0.5, patterns: ['(ab']}]}", "unterminated"),
        ("name: mine\ncategories: {hate: [{weight: 0.5, patterns: ['{who} x']}]}", "word list"),
        ("name: [", "expected"),
    ],
)
def test_rules_file_when_it_is_wrong_says_what(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(content)

    with pytest.raises(BadRules, match=told):
        load_rules(file)


async def test_rules_file_of_a_deployment_takes_the_place_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("name: mine\ncategories: {hate: [{weight: 0.9, phrases: ['Grütze']}]}")
    moderator = load_rules(file)

    judgement = await moderator.judge(["So eine GRÜTZE!", "I will kill you"], model="mine")

    assert judgement.model == "mine"
    assert [sorted(found.flagged) for found in judgement.verdicts] == [["hate"], []]
