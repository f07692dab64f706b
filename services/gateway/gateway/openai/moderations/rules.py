"""Our own moderator: rules in a file, each with the weight that its author gives it.

A score is no probability that a model has learnt. It is what the rules that matched add up to:
`1 - (1 - weight of one) * (1 - weight of the next) * ...`, and exactly 0 where none did.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from penstock_kit.errors import Fatal
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.openai.moderations.categories import CATEGORIES, MODELS, PARENTS
from gateway.openai.moderations.pace import WINDOW, Pace
from gateway.openai.moderations.personal import personal_data
from gateway.openai.moderations.ports import Judgement, ModerationRefused, Verdict

__all__ = ["FLAGGED_FROM", "BadRules", "RuleModerator", "load_rules"]

FLAGGED_FROM: Final = 0.5
"""A category is found from this score on."""
_PIECE: Final = 1024
"""Characters that are normalised in one go. Marks out of order cost the square of their number."""
_LONGEST_MATCH: Final = 512
"""Windows overlap by so much, so that no match is cut in two."""
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
"""Characters that split a word for a program and not for a reader."""
_BLANKS: Final = re.compile(r"\s+")
_QUOTES: Final = str.maketrans("\u2018\u2019\u02bc", "'''")


class BadRules(Fatal):
    """The file of rules cannot be used; the message names the rule and what is wrong."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _RuleEntry(_Config):
    weight: float = Field(gt=0, lt=1)
    phrases: list[Annotated[str, Field(min_length=2, max_length=200)]] = []
    patterns: list[Annotated[str, Field(min_length=2, max_length=1000)]] = []


class _RulesFile(_Config):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    words: dict[Annotated[str, Field(pattern=r"^[a-z_]+$")], list[str]] = {}
    categories: dict[str, list[_RuleEntry]]

    @field_validator("categories")
    @classmethod
    def _are_known(cls, categories: dict[str, list[_RuleEntry]]) -> dict[str, list[_RuleEntry]]:
        unknown = categories.keys() - set(CATEGORIES)
        if unknown:
            raise ValueError(f"unknown categories: {', '.join(sorted(unknown))}")
        return categories


@dataclass(frozen=True, slots=True)
class _Rule:
    weight: float
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Rules:
    name: str
    by_category: Mapping[str, Sequence[_Rule]]


class RuleModerator:
    """Implements `Moderator` without a model: fast, always the same, blind to what no rule says."""

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules

    async def judge(self, texts: Sequence[str], *, model: str | None) -> Judgement:
        """Judge each text; see the port."""
        if model is not None and model not in (*MODELS, self._rules.name):
            known = ", ".join((*MODELS, self._rules.name))
            message = f"model {model!r} is not known here; use one of {known}, or none"
            raise ModerationRefused(message, code="model_not_found", field="model")
        pace = Pace()
        return Judgement(self._rules.name, [await self._verdict(text, pace) for text in texts])

    async def close(self) -> None:
        """Nothing is open."""

    async def _verdict(self, text: str, pace: Pace) -> Verdict:
        plain = await _normalised(text, pace)
        folded = await _folded(plain, pace)
        scores = dict.fromkeys(CATEGORIES, 0.0)
        for category, rules in self._rules.by_category.items():
            scores[category] = await _score(rules, folded, pace)
        for narrow, wide in PARENTS.items():
            scores[wide] = max(scores[wide], scores[narrow])
        flagged = frozenset(name for name, score in scores.items() if score >= FLAGGED_FROM)
        return Verdict(scores=scores, flagged=flagged, pii=await personal_data(plain, pace))


async def _normalised(text: str, pace: Pace) -> str:
    """Compatibility forms and invisible characters are gone."""
    done = []
    for piece in _pieces(_INVISIBLE.sub("", text)):
        done.append(unicodedata.normalize("NFKC", piece))
        await pace.did(len(piece))
    return "".join(done)


async def _folded(text: str, pace: Pace) -> str:
    """In one case, with plain quotes, and one blank for each run of them."""
    done = [""]
    for piece in _pieces(text):
        folded = _BLANKS.sub(" ", piece.translate(_QUOTES).casefold())
        done.append(folded.removeprefix(" ") if done[-1].endswith(" ") else folded)
        await pace.did(len(piece))
    return "".join(done)


def _pieces(text: str) -> Iterator[str]:
    """Cut before a blank where there is one: no character before it composes with it."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            blank = text.rfind(" ", start + 1, end)
            end = blank if blank > 0 else end
        yield text[start:end]
        start = end


async def _score(rules: Sequence[_Rule], text: str, pace: Pace) -> float:
    missed = 1.0
    for rule in rules:
        for start in range(0, max(len(text), 1), WINDOW - _LONGEST_MATCH):
            await pace.did(min(len(text) - start, WINDOW))
            if rule.pattern.search(text, start, start + WINDOW) is not None:
                missed *= 1 - rule.weight
                break
    return round(1 - missed, 6)


def load_rules(path: Path | None) -> RuleModerator:
    """The moderator of a file of rules; None: the rules that come with the gateway.

    Raises:
        BadRules: the file cannot be used.
    """
    source = resources.files("gateway.openai.moderations") / "rules.yaml" if path is None else path
    try:
        file = _RulesFile.model_validate(yaml.safe_load(source.read_text("utf-8")))
        rules = {
            category: tuple(_Rule(entry.weight, _compiled(entry, file.words)) for entry in entries)
            for category, entries in file.categories.items()
        }
    except (OSError, ValueError, yaml.YAMLError, re.error, ValidationError) as error:
        raise BadRules(
            f"cannot use the moderation rules {str(source)!r}: {error}; see docs/openai.md"
        ) from error
    return RuleModerator(_Rules(file.name, rules))


def _compiled(entry: _RuleEntry, words: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """One expression for all phrases and patterns; `{name}` in a pattern is any word of a list."""
    parts = [re.escape(phrase.casefold()) for phrase in entry.phrases]
    parts += [_filled(pattern, words) for pattern in entry.patterns]
    if not parts:
        raise ValueError("a rule needs phrases or patterns")
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)")


def _filled(pattern: str, words: Mapping[str, Sequence[str]]) -> str:
    def words_of(found: re.Match[str]) -> Any:
        if found[1] not in words:
            raise ValueError(f"pattern {pattern!r} uses an unknown word list {found[1]!r}")
        return f"(?:{'|'.join(words[found[1]])})"

    return re.sub(r"\{([a-z_]+)\}", words_of, pattern)
