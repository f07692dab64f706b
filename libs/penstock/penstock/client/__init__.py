"""The typed client: submit jobs, follow their streams, get results."""

from penstock.client.asynchronous import AsyncClient
from penstock.client.errors import (
    ApiError,
    ClientError,
    JobEnded,
    NotAuthorized,
    NotCompleted,
    NotFound,
    Unreachable,
)
from penstock.client.models import Job, JobPage, StreamEvent
from penstock.client.synchronous import Client
from penstock.client.transcript import Transcript, output_text

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Job",
    "JobEnded",
    "JobPage",
    "NotAuthorized",
    "NotCompleted",
    "NotFound",
    "StreamEvent",
    "Transcript",
    "Unreachable",
    "output_text",
]
