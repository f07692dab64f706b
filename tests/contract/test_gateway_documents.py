"""What is committed in docs/ is what the code says."""

from __future__ import annotations

from pathlib import Path

from gateway.openapi import errors_page, openapi_bytes

DOCS = Path(__file__).parents[2] / "docs"
HOW = "run `python -m gateway.openapi docs` and commit the change"


def test_openapi_document_when_rendered_is_the_committed_one() -> None:
    assert (DOCS / "openapi.json").read_bytes() == openapi_bytes(), HOW


def test_errors_page_when_rendered_is_the_committed_one() -> None:
    assert (DOCS / "errors.md").read_text() == errors_page(), HOW
