from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from penstock_contracts.envelope import Envelope
from penstock_contracts.requests import JobRequest
from penstock_contracts.surface import Surface
from penstock_kit.intake import Sender, VerifiedRequest, surface_of


def owned(surface: Surface | None) -> VerifiedRequest:
    request = JobRequest(task="chat", input={"messages": []}, surface=surface)
    return cast("VerifiedRequest", SimpleNamespace(request=request))


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        (None, None),
        (Surface(kind="response"), "response"),
        (Surface(kind="response", told=False), None),
    ],
)
def test_headers_name_the_kind_of_a_surface_whose_end_is_news(
    surface: Surface | None, expected: Any
) -> None:
    assert surface_of(owned(surface)) == expected


def test_job_whose_request_was_not_read_has_no_surface() -> None:
    sender = Sender("job", "acme", None, Envelope(id="1", source="/s", type="t"))

    assert surface_of(sender) is None
