"""The registry of every error that the API can answer: code, status, family, what to do about it.

`docs/errors.md` is rendered from `REGISTRY`; a test fails when it drifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.error_kinds.kind import ErrorKind
from gateway.error_kinds.of_files import OF_FILES
from gateway.error_kinds.of_jobs import OF_JOBS
from gateway.error_kinds.of_openai import OF_OPENAI
from gateway.error_kinds.of_responses import OF_RESPONSES

__all__ = ["REGISTRY", "ErrorKind"]

REGISTRY: Final[Mapping[str, ErrorKind]] = {
    kind.code: kind for kind in (*OF_JOBS, *OF_OPENAI, *OF_RESPONSES, *OF_FILES)
}
