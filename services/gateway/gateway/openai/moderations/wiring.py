"""Makes the moderator that the settings choose, and the endpoints of `/v1/moderations`."""

from __future__ import annotations

from gateway.openai.moderations.endpoints import ModerationEndpoints
from gateway.openai.moderations.ports import Moderator
from gateway.openai.moderations.rules import load_rules
from gateway.openai.reading import BodyReader
from gateway.openai.wiring import FrontDoor
from gateway.settings import GatewayGroup

__all__ = ["build_moderations", "build_moderator", "build_reader"]


def build_moderator(settings: GatewayGroup) -> Moderator:
    """The upstream if there is one, else the rules.

    Raises:
        BadRules: the file of rules cannot be used.
    """
    if settings.moderation_url is None:
        return load_rules(settings.moderation_rules_file)
    from gateway.openai.moderations.upstream import (  # noqa: PLC0415 - an HTTP client of 8 MB that most gateways never use
        UpstreamEntry,
        UpstreamModerator,
    )

    key = settings.moderation_api_key
    entry = UpstreamEntry(
        url=settings.moderation_url,
        api_key=None if key is None else key.get_secret_value(),
        timeout=settings.moderation_timeout,
    )
    return UpstreamModerator(entry)


def build_reader(door: FrontDoor) -> BodyReader:
    """What reads requests that are no jobs."""
    return BodyReader(
        authenticator=door.native.authenticator,
        bodies=door.native.bodies,
        max_body_bytes=door.settings.gateway.max_body_bytes,
    )


def build_moderations(door: FrontDoor, moderator: Moderator) -> ModerationEndpoints:
    """The endpoints."""
    return ModerationEndpoints(
        reader=build_reader(door), moderator=moderator, randomness=door.native.randomness
    )
