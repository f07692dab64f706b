"""What can be wrong with a record before anybody looks at its meaning.

ContractError
├── NotACloudEvent     headers or structured body do not form a CloudEvents 1.0 event
├── MalformedJson      the value is no JSON that we accept (syntax, NaN, depth, size, encoding)
├── SchemaMismatch     JSON, but not of the model that its type names
└── BadReplyTo         asks for a reply where none may be written (`replies`)
"""

from __future__ import annotations

__all__ = ["ContractError", "MalformedJson", "NotACloudEvent", "SchemaMismatch"]


class ContractError(ValueError):
    """A record breaks the contract; the reader dead-letters it, it can never succeed later.

    Attributes:
        code: stable, lower-case snake name for metrics, dead letters and API errors.
        field: dotted path of the offending field (`input.messages.0.role`), or None for the whole.
    """

    code = "contract_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotACloudEvent(ContractError):
    """The envelope is missing, incomplete or of another CloudEvents version."""

    code = "not_a_cloudevent"


class MalformedJson(ContractError):
    """The value is not acceptable JSON: syntax, NaN or Infinity, nesting, encoding, size."""

    code = "malformed_json"


class SchemaMismatch(ContractError):
    """The value is JSON but breaks the schema of its type. The message never quotes the value."""

    code = "schema_mismatch"
