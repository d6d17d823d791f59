"""A run with its own Prefect server that receives a signal while it starts."""

import os
import signal
import subprocess
import sys
import time

from tests.support.shell import PATIENCE_S, Shell

COMMAND = [
    sys.executable, "-m", "mayfly.cli.entry", "run", "questions.parquet", "--output", "out",
    "--model", "Qwen/Qwen2.5-7B-Instruct", "--prompt", "{{ question }}", "--yes",
]  # fmt: skip


def interrupted_at(shell: Shell, delay_s: float, number: signal.Signals) -> tuple[int, str]:
    """Start a run, signal its whole group after a delay; return exit code and all output."""
    env = {name: value for name, value in shell.env.items() if name != "PREFECT_API_URL"}
    run = subprocess.Popen(
        COMMAND,
        cwd=shell.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        time.sleep(delay_s)
        os.killpg(run.pid, number)
        output, _ = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
        run.wait()
    return run.returncode, output
