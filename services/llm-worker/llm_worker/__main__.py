"""`python -m llm_worker`: read the settings, run until a signal."""

from __future__ import annotations

from penstock_kit.lifecycle import Service, run_service
from penstock_kit.settings import load_settings
from penstock_kit.telemetry.logs import configure_logs

from llm_worker.settings import LlmWorkerSettings
from llm_worker.wiring import build_service


async def _make() -> Service:
    settings = load_settings(LlmWorkerSettings)
    secret = settings.auth.id_secret.get_secret_value()
    configure_logs(settings.log, "llm-worker", settings.instance, known_secrets=[secret])
    return await build_service(settings)


if __name__ == "__main__":
    run_service(_make)
