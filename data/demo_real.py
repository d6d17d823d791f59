"""`make demo-real`: the same job with the answers of a small real model on this machine."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import CLOCK, HERE, job, run
from real_model import SLOTS

from mayfly.cli.local_emulator import SPEED
from mayfly.cli.render.console import console

OUTPUT = Path("out/demo-real")
ROWS = 24

INTRODUCTION = f"""\
A rehearsal with a real model: no real endpoint is created, and no API key is used.
  real      the answers (SmolLM2 135M by llama.cpp on this machine), their tokens and their time;
            the requests, the files, the plan, the report, the teardown
  emulated  the endpoint, its GPUs and its billing
  clock     {SPEED:g} times as fast while the endpoint starts and stops, real time while it answers
The model is tiny: its answers fit the schema, but are often wrong.
"""


@contextmanager
def real_model(folder: Path) -> Iterator[str]:
    """Serve the model in a separate process; yield its URL."""
    command = [sys.executable, "-P", str(HERE / "real_model.py"), str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None  # noqa: S101 - asked for above
        assert server.stdout is not None  # noqa: S101
        try:
            line = server.stdout.readline()
            if "http://" not in line:
                raise SystemExit(f"the model did not start; try: {' '.join(command)}")
            yield line.split()[-1]
        finally:
            server.stdin.close()
            server.terminate()


def demo(folder: Path) -> int:
    """Run the job on the first rows and print where the results are."""
    out = console()
    out.print(INTRODUCTION)
    with real_model(folder) as url:
        command = job("--limit", str(ROWS), "--reasoning", "off", output=OUTPUT)
        code = run(command, OUTPUT, *CLOCK, "--slots", str(SLOTS), "--upstream", url)
    if code == 0:
        out.print(f"Results: {OUTPUT} (pandas.read_parquet reads the folder).")
    return code


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1])))
