"""The embedded endpoint of `--local`: the Together emulator in its own process.

It is reached over a connection as Together is; nothing below the command line knows about it.
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
"""Speed of its clock: a cold start of minutes takes seconds."""


@contextmanager
def embedded_endpoint(
    environ: Mapping[str, str], api: Api = "v2", options: Sequence[str] = ()
) -> Iterator[Environment]:
    """Start the emulator for the duration of the block; yield the environment that reaches it.

    It listens on a free loopback port. If this process is killed, or leaves an endpoint, it
    survives for some seconds, so that the guardian can tear down. Its leases are kept apart from
    those of real endpoints.

    Args:
        options: Further options of the emulator (`mayfly emulator --help`).
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",  # a folder `together_emulator` in the working directory must not shadow it
            "-m",
            "together_emulator",
            "--port",
            "0",
            "--speed",
            str(SPEED),
            "--exit-with-parent",
            # Together no longer creates v1 endpoints; the emulator still can.
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
            raise TerminalError(f"the local emulator did not start (it said: {line!r})")
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
        process.stdout.close()
        # An open lease is handled by the guardian, for which the emulator lives on for a while.
        if not any((home / "leases").glob("*.json")):
            process.terminate()
            process.wait()
            shutil.rmtree(home, ignore_errors=True)
