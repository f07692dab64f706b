"""Changes the body of a dead letter before it is run again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from penstock_contracts.codec import decode_json
from penstock_contracts.envelope import Envelope, Headers, decode_event
from penstock_contracts.errors import ContractError
from penstock_kit.errors import PenstockError

__all__ = ["BadEdit", "Edit", "parse_assignment"]


class BadEdit(PenstockError):
    """The edit makes no sense for this body; nothing was written for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is different when the job runs again.

    Attributes:
        body: the whole new body, instead of the letter's.
        assignments: (path, value) in their order; a path is dotted, list places are numbers.
    """

    body: bytes | None = None
    assignments: tuple[tuple[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return self.body is not None or bool(self.assignments)

    def opened(self, headers: Headers) -> tuple[Envelope, Edit] | None:
        """Envelope and edit of the data, where the new body is a whole event in structured mode.

        That is what `penstock dlq show --save` writes of such a letter; None: it is a job's body.

        Raises:
            BadEdit: the event has lost what makes it one.
        """
        try:
            event = decode_json(self.body or b"")
        except ContractError:
            return None  # `apply` says what is wrong
        if not isinstance(event, dict) or "specversion" not in event:
            return None
        try:
            envelope, data = decode_event(headers, self.body)
        except ContractError as error:
            raise BadEdit(
                f"the file is no whole event any more ({error}); give an event as"
                " `penstock dlq show --save` writes it, or the job's body alone"
            ) from error
        return envelope, replace(self, body=data)

    def apply(self, data: bytes) -> dict[str, Any]:
        """The body to send.

        Raises:
            BadEdit: the body is no JSON object, or a path leads nowhere.
        """
        try:
            body = decode_json(self.body if self.body is not None else data)
        except ContractError as error:
            raise BadEdit(f"the body is {error}; give a whole new one with --edit FILE") from error
        if not isinstance(body, dict):
            raise BadEdit("the body is no JSON object; give a whole new one with --edit FILE")
        for path, value in self.assignments:
            _assign(body, path, value)
        return body


def parse_assignment(text: str) -> tuple[str, Any]:
    """`params.temperature=0.2` as path and value; what is no JSON is text.

    Raises:
        BadEdit: another form.
    """
    path, separator, raw = text.partition("=")
    if not separator or not all(path.split(".")):
        raise BadEdit(
            f"{text!r} is no assignment; write for example --set model=small or"
            " --set params.temperature=0.2"
        )
    try:
        return path, decode_json(raw.encode())
    except ContractError:
        return path, raw


def _assign(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = body
    for name in parents:
        node = _child(node, name, path)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    else:
        raise _leads_nowhere(path, last)


def _child(node: Any, name: str, path: str) -> Any:
    if isinstance(node, dict):
        return node.setdefault(name, {})
    if isinstance(node, list) and name.isdigit() and int(name) < len(node):
        return node[int(name)]
    raise _leads_nowhere(path, name)


def _leads_nowhere(path: str, name: str) -> BadEdit:
    return BadEdit(
        f"--set {path}: the body has nothing at {name!r}; `penstock dlq show` shows the body"
    )
