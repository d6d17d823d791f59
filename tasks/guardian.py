"""The guardian: a process that outlives a killed flow and tears its endpoint down.

It holds the reading end of a pipe whose writing end only the flow has. A flow that ends well says
so with a byte. A flow that is killed (SIGKILL, out of memory, a worker that is stopped) says
nothing: the kernel closes its end, and the guardian acts within milliseconds. While it waits it
has imported nothing but the standard library and sleeps in `read`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RELEASE = b"."
BUDGET_S = 3600.0
"""How long the guardian insists: the API may be down for a while, and nobody else is left."""


class Guardian:
    """The flow's end of the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def arm(cls, lease: Path) -> "Guardian":
        """Start a guardian for the endpoint that a lease file names.

        It is in a session of its own, so that neither Ctrl-C nor a closing terminal reaches it,
        and it takes the key from the environment that it inherits.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.guardian", str(lease)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def release(self) -> None:
        """Let it go: the endpoint has ended as it should."""
        assert self._process.stdin is not None  # noqa: S101 - asked for in `arm`
        try:
            self._process.stdin.write(RELEASE)
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()


def main(lease_path: Path) -> int:
    """Wait for the flow's end, and act if it did not say that all is well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1) == RELEASE:
        return 0
    return act(lease_path)


def act(lease_path: Path) -> int:
    """Tear down what the lease names now: the flow may have renewed it since we were armed."""
    # Only now: these imports take half a second and 100 MB that a waiting guardian must not hold.
    from tasks.ending import end_lease  # noqa: PLC0415
    from tasks.storage.lease_file import read_lease  # noqa: PLC0415

    end = time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        try:
            lease = read_lease(lease_path)
        except FileNotFoundError:
            return 0
        try:
            end_lease(lease, line="guardian", environ=os.environ, budget_s=BUDGET_S)
        except Exception as error:  # noqa: BLE001 - nobody is left to tell; insist until the end
            print(f"{lease.name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            time.sleep(5.0)
        else:
            return 0
    return 4


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
