"""`python -m embedder`: read the settings, run until a signal."""

from __future__ import annotations

from penstock_kit.lifecycle import Service, run_service
from penstock_kit.settings import load_settings
from penstock_kit.telemetry.logs import configure_logs

from embedder.settings import EmbedderSettings
from embedder.wiring import build_service


async def _make() -> Service:
    settings = load_settings(EmbedderSettings)
    configure_logs(
        settings.log, "embedder", settings.instance, known_secrets=settings.known_secrets()
    )
    return await build_service(settings)


if __name__ == "__main__":
    run_service(_make)
