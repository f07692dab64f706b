"""What routes of the OpenAI API have in common in their tables."""

from __future__ import annotations

from typing import Final

from gateway.openai.strict import BODY_ERRORS
from gateway.route_specs import SUBMIT_ERRORS

__all__ = ["CREATED_HEADERS", "CREATE_ERRORS", "ENDED_ERRORS"]

ENDED_ERRORS: Final = (
    "job_cancelled",
    "job_expired",
    "job_refused",
    "job_rate_limited",
    "job_gave_up",
    "still_running",
    "gateway_draining",
    "result_gone",
    "table_unavailable",
)
"""How a job may end whose caller waits for it."""
CREATE_ERRORS: Final = (*SUBMIT_ERRORS, *BODY_ERRORS, "model_not_found", *ENDED_ERRORS)
"""Of a route that makes a job and waits for it."""
CREATED_HEADERS: Final = (
    "x-penstock-job",
    "openai-processing-ms",
    "Idempotent-Replayed",
    "RateLimit-Policy",
    "RateLimit",
)
