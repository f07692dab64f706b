"""`python -m gateway`: read the settings, run until a signal."""

from __future__ import annotations

from penstock_kit.lifecycle import Service, run_service
from penstock_kit.settings import load_settings
from penstock_kit.telemetry.logs import configure_logs

from gateway.settings import GatewaySettings
from gateway.wiring import build_service


async def _make() -> Service:
    settings = load_settings(GatewaySettings)
    configure_logs(
        settings.log,
        "gateway",
        settings.instance,
        known_secrets=[settings.auth.id_secret.get_secret_value()],
    )
    return build_service(settings)


if __name__ == "__main__":
    run_service(_make)
