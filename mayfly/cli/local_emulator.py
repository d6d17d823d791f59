"""The embedded endpoint behind `--local`: an emulator of Together in a process of its own.

It is reached as Together is, by a connection; nothing below the command line knows.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mayfly.models.endpoint import Api
from mayfly.models.errors import TerminalError
from mayfly.runs.environment import Environment

SPEED = 60.0
"""How much faster than real its clock runs: a cold start of minutes takes seconds."""


@contextmanager
def embedded_endpoint(
    environ: Mapping[str, str], api: Api = "v2", options: Sequence[str] = ()
) -> Iterator[Environment]:
    """Start the emulator, and end it with the block; yields the surroundings that lead to it.

    It listens on a free loopback port, outlives us by some seconds if we are killed (so that the
    guardian can still tear down), and its leases are kept apart from those of real endpoints.

    Args:
        options: More of the emulator's own (`mayfly emulator --help`).
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",  # a folder `together_emulator` where the user happens to be is not ours
            "-m",
            "together_emulator",
            "--port",
            "0",
            "--speed",
            str(SPEED),
            "--exit-with-parent",
            # Together itself creates no v1 endpoints any more; here one may still try how it was.
            *(("--v1-create",) if api == "v1" else ()),
            *options,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101
    home = Path(tempfile.mkdtemp(prefix="mayfly-local-"))
    try:
        line = process.stdout.readline().strip()
        if "http://" not in line:
            raise TerminalError(f"the embedded endpoint did not start (it said: {line!r})")
        url = line[line.index("http://") :]
        environment = Environment.of(
            {
                **environ,
                "TOGETHER_BASE_URL": url,
                "TOGETHER_API_KEY": "local",
                "TOGETHER_PROJECT_ID": "",
                "MAYFLY_HOME": str(home),
                # It costs nothing.
                "MAYFLY_MONTHLY_BUDGET_USD": "",
            }
        )
        yield replace(environment, connection=replace(environment.connection, key_is_secret=False))
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()
        # A lease that is open still is the guardian's, which is at work on it.
        if not any((home / "leases").glob("*.json")):
            shutil.rmtree(home, ignore_errors=True)
