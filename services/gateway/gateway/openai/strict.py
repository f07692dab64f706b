"""Bodies of the OpenAI API: strict models, and every refusal in the words that OpenAI uses.

A refusal quotes a value only where it is a number or a short word that stands for a choice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, ValidationError
from pydantic_core import PydanticCustomError

from gateway.error_kinds import REGISTRY
from gateway.errors import ApiError

__all__ = [
    "BODY_ERRORS",
    "WRONG_SHAPE",
    "Body",
    "by_shape",
    "complaint",
    "not_here",
    "not_these",
    "read_body_as",
    "refused",
    "refused_value",
]

BODY_ERRORS: Final = (
    "missing_required_parameter",
    "unknown_parameter",
    "unsupported_parameter",
    "unsupported_value",
    "invalid_type",
    "invalid_value",
    "invalid_combination",
    "mutually_exclusive_parameters",
    "invalid_function_parameters",
    "invalid_json_schema",
    "integer_below_min_value",
    "integer_above_max_value",
    "decimal_below_min_value",
    "decimal_above_max_value",
    "empty_array",
    "array_below_min_length",
    "array_above_max_length",
    "empty_string",
    "string_below_min_length",
    "string_above_max_length",
    "object_above_max_properties",
)
"""Codes of the registry that a body of the OpenAI API may be refused with."""

_MAX_PARAM_CHARS = 120
_MAX_QUOTED_CHARS = 64
_EXPECTED: Final = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "finite_number": "a finite decimal",
}
_BOUNDS: Final = {
    "less_than_equal": ("le", "<=", "above_max_value", "above maximum value"),
    "less_than": ("lt", "<", "above_max_value", "above maximum value"),
    "greater_than_equal": ("ge", ">=", "below_min_value", "below minimum value"),
    "greater_than": ("gt", ">", "below_min_value", "below minimum value"),
}
WRONG_SHAPE: Final = "wrong_shape"
"""Error type of a union by shape, its message what was expected; no code of the registry."""
_LENGTHS: Final = {"too_short", "too_long", "string_too_short", "string_too_long"}
_ARRAY: Final = ("array", "an array", "length")
_STRING: Final = ("string", "a string", "length")


class Body(BaseModel):
    """A body, or an object inside of one: unknown fields are refused, and nothing is coerced.

    `refused` names fields of OpenAI's that this deployment does not have, each with the reason. A
    null in one of them is as good as none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    refused: ClassVar[Mapping[str, str]] = {}


M = TypeVar("M", bound=Body)


def read_body_as(model: type[M], value: Any) -> M:
    """The body as its model.

    Raises:
        ApiError: one of `BODY_ERRORS`; `param` is the path of the field, as in `messages[0].role`.
    """
    if not isinstance(value, dict):
        message = f"Invalid type for the body: expected an object, but got {_named(value)} instead."
        raise ApiError("invalid_type", message)
    given = model.refused.keys() & value.keys()
    if given:
        for name in sorted(given):
            if value[name] is not None:
                raise refused(name, model.refused[name])
        value = {name: part for name, part in value.items() if name not in given}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise _refusal(problem, value) from None


def refused(param: str, reason: str) -> ApiError:
    """A parameter that OpenAI has and we do not."""
    message = f"Unsupported parameter: '{param}' is not supported here: {reason}."
    return ApiError("unsupported_parameter", message, param=param)


def complaint(code: str, text: str, *, at: str = "") -> PydanticCustomError:
    """For validators: an error of the registry; `at` is a field of the value that is validated."""
    return PydanticCustomError(code, "{text}", {"at": at, "text": text})


def not_here(reason: str) -> BeforeValidator:
    """For fields of OpenAI's that this deployment does not have: a null is as good as none."""

    def require_none(value: Any) -> None:
        if value is not None:
            raise complaint("unsupported_parameter", reason)

    return BeforeValidator(require_none)


def not_these(values: Collection[Any], reason: str) -> BeforeValidator:
    """For fields of which OpenAI takes these values, and this deployment does not."""

    def require_other(value: Any) -> Any:
        if isinstance(value, str | bool) and value in values:
            raise refused_value(repr(value), reason)
        return value

    return BeforeValidator(require_other)


def refused_value(what: str, reason: str, *, at: str = "") -> PydanticCustomError:
    """For validators: a value that OpenAI takes and we do not; `at` is a field of the value."""
    text = f"Unsupported value: {what} is not supported here: {reason}."
    return complaint("unsupported_value", text, at=at)


def by_shape(expected: str) -> Discriminator:
    """Chooses among union members tagged `<string>`, `<array>`, `<object>` by what was sent.

    `expected` ends the sentence "expected one of ...".
    """
    return Discriminator(
        _shape,
        custom_error_type=WRONG_SHAPE,
        custom_error_message=f"one of {expected}",
    )


def _shape(value: Any) -> str | None:
    # Tags are no words that a field could have: places in errors are told apart by the brackets.
    if isinstance(value, str):
        return "<string>"
    if isinstance(value, list):
        return "<array>"
    if isinstance(value, dict):
        return "<object>"
    return None


def _refusal(problem: Any, body: Any) -> ApiError:
    kind, given, context = problem["type"], problem["input"], problem.get("ctx") or {}
    param = _param(problem["loc"], body, context.get("at", ""))
    if kind in _BOUNDS:
        return _out_of_bounds(kind, param, given, context)
    if kind in _LENGTHS:
        return _wrong_length(kind, param, {"actual_length": len(given), **_told_by(context)})
    if kind == "unsupported_parameter":
        return refused(param, context["text"])
    if kind == "literal_error":
        return _no_such_choice(param, given, str(context["expected"]))
    code, message = _told(kind, param, problem)
    return ApiError(code, message, param=param or None)


def _told_by(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in context.items() if value is not None}


def _told(kind: str, param: str, problem: Any) -> tuple[str, str]:
    text = problem["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return "missing_required_parameter", f"Missing required parameter: '{param}'."
    if kind == "extra_forbidden":
        return "unknown_parameter", f"Unknown parameter: '{param}'."
    if kind == "string_pattern_mismatch":
        text = (
            f"Invalid '{param}': string does not match pattern. Expected a string that matches "
            f"the pattern '{problem['ctx']['pattern']}'."
        )
        return "invalid_value", text
    expected = _EXPECTED.get(kind) or (text if kind == WRONG_SHAPE else None)
    if expected is not None:
        got = _named(problem["input"])
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return "invalid_type", message
    if kind in REGISTRY:
        return kind, text
    return "invalid_value", f"Invalid '{param}': {text}."


def _param(loc: tuple[int | str, ...], body: Any, at: str) -> str:
    here, path = body, ""
    for place, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif isinstance(here, dict) and part in here:
            path += f".{part}" if path else part
            here = here[part]
        elif not part.startswith("<") and place == len(loc) - 1 and isinstance(here, dict):
            path += f".{part}" if path else part  # what is missing
        # Else it is the name of a union's member.
    if at:
        path += f".{at}" if path else at
    return path if len(path) <= _MAX_PARAM_CHARS else path[:_MAX_PARAM_CHARS] + "…"


def _out_of_bounds(kind: str, param: str, given: Any, context: Mapping[str, Any]) -> ApiError:
    name, sign, code, words = _BOUNDS[kind]
    bound = context[name]
    number = "integer" if isinstance(bound, int) else "decimal"
    message = (
        f"Invalid '{param}': {number} {words}. Expected a value {sign} {bound:g}, "
        f"but got {given} instead."
    )
    return ApiError(f"{number}_{code}", message[:500], param=param)


def _wrong_length(kind: str, param: str, context: Mapping[str, Any]) -> ApiError:
    is_long = kind.endswith("long")
    bound = context["max_length" if is_long else "min_length"]
    if context.get("field_type") == "Dictionary":
        message = (
            f"Invalid '{param}': too many properties. Expected an object with at most {bound} "
            f"properties, but got an object with {context['actual_length']} properties instead."
        )
        return ApiError("object_above_max_properties", message, param=param)
    noun, article, measure = _STRING if kind.startswith("string") else _ARRAY
    actual = context["actual_length"]
    if not is_long and not actual and bound == 1:
        message = (
            f"Invalid '{param}': empty {noun}. Expected {article} with minimum {measure} 1, "
            f"but got an empty {noun} instead."
        )
        return ApiError(f"empty_{noun}", message, param=param)
    word, limit = ("long", "maximum") if is_long else ("short", "minimum")
    message = (
        f"Invalid '{param}': {noun} too {word}. Expected {article} with {limit} {measure} "
        f"{bound}, but got {article} with {measure} {actual} instead."
    )
    code = "above_max_length" if is_long else "below_min_length"
    return ApiError(f"{noun}_{code}", message, param=param)


def _no_such_choice(param: str, given: Any, expected: str) -> ApiError:
    choices = expected.replace(" or ", ", and ", 1) if ", " in expected else expected
    if isinstance(given, str):
        shown = given if len(given) <= _MAX_QUOTED_CHARS else given[:_MAX_QUOTED_CHARS] + "…"
        message = f"Invalid value: '{shown}'. Supported values are: {choices}."
        return ApiError("invalid_value", message, param=param)
    message = (
        f"Invalid type for '{param}': expected one of {choices}, but got {_named(given)} instead."
    )
    return ApiError("invalid_type", message, param=param)


def _named(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "something else")
