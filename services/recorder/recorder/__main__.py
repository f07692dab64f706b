"""`python -m recorder`: read the settings, run until a signal."""

from __future__ import annotations

from penstock_kit.lifecycle import Service, run_service
from penstock_kit.settings import load_settings
from penstock_kit.telemetry.logs import configure_logs

from recorder.settings import RecorderSettings
from recorder.wiring import build_service


async def _make() -> Service:
    settings = load_settings(RecorderSettings)
    secret = settings.auth.id_secret.get_secret_value()
    configure_logs(settings.log, "recorder", settings.instance, known_secrets=[secret])
    return build_service(settings)


if __name__ == "__main__":
    run_service(_make)
