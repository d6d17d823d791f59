"""The guardian: a process that outlives a killed flow and tears its endpoint down.

It holds the reading end of a pipe whose writing end only the flow has, and watches the flow's
process itself. A flow that ends well says so with a byte. A flow that is killed (SIGKILL, out of
memory, a worker that is stopped) says nothing: the kernel closes its end, and the guardian acts
within milliseconds. While it waits it has imported nothing but the standard library and sleeps in
`poll`.
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

RELEASE = b"."
READY = b"!"
BUDGET_S = 3600.0
"""How long the guardian insists: the API may be down for a while, and nobody else is left."""

PAUSE_S = 5.0
START_S = 30.0
"""How long a guardian may take to be awake; a tenth of a second is usual."""

_LOOK_EVERY_MS = 1000
"""How often the flow's process is looked at where the kernel does not tell of its end."""


class Guardian:
    """The flow's end of the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def arm(cls, lease: Path) -> "Guardian":
        """Start a guardian for the endpoint that a lease file names, and wait until it is awake.

        It is in a session of its own, so that neither Ctrl-C nor a closing terminal reaches it,
        and it takes the key from the environment that it inherits. Of files it inherits nothing
        but its end of the pipe: a lock of the flow's is not kept by its guardian.

        Raises:
            TerminalError: It could not be started; do not create anything.
        """
        from mayfly.models.errors import TerminalError  # noqa: PLC0415 - not while a guardian waits

        lease = lease.absolute()
        try:
            with (lease.parent / "guardian.log").open("ab") as log:
                process = subprocess.Popen(
                    # -P: a folder `mayfly` where the user happens to be is not ours.
                    [sys.executable, "-P", "-m", __name__, str(lease), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=lease.parent,
                    env={**os.environ, "MAYFLY_HOME": str(lease.parent.parent)},
                    start_new_session=True,
                )
        except OSError as error:
            raise TerminalError(
                f"guardian of {lease.stem} cannot be started: {error}; nothing was created"
            ) from error
        assert process.stdout is not None  # noqa: S101 - asked for above
        with process.stdout as said:
            awake, _, _ = select.select([said], [], [], START_S)
            if not awake or said.read(1) != READY:
                process.kill()
                process.wait()
                raise TerminalError(
                    f"guardian of {lease.stem} did not start, see {lease.parent / 'guardian.log'}; "
                    "nothing was created"
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
        try:
            self._process.wait(PAUSE_S)
        except subprocess.TimeoutExpired:
            # Stopped by somebody; it will read the byte when it goes on.
            return


def main(lease_path: Path, flow: int) -> int:
    """Wait for the flow's end, and act if it did not say that all is well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The flow may die while we wake up: then there is the more to do.
    with suppress(BrokenPipeError):
        os.write(1, READY)
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)
    if released(flow):
        return 0
    return act(lease_path)


def released(flow: int) -> bool:
    """Wait until the flow lets us go (True) or dies without having done so (False).

    Its end of the pipe alone would not do: what the flow has forked inherits it, and may live on.
    """
    poll = select.poll()
    poll.register(0, select.POLLIN)
    died = os.pidfd_open(flow) if hasattr(os, "pidfd_open") and os.getppid() == flow else None
    if died is not None:
        poll.register(died, select.POLLIN)
    while True:
        events = poll.poll(None if died is not None else _LOOK_EVERY_MS)
        if os.getppid() != flow or any(descriptor == died for descriptor, _ in events):
            # A last byte may have been written just before.
            waiting, _, _ = select.select([0], [], [], 0)
            return bool(waiting) and os.read(0, 1) == RELEASE
        if events:
            return os.read(0, 1) == RELEASE


def act(lease_path: Path) -> int:
    """Tear down what the lease names now: the flow may have renewed it since we were armed."""
    # Only now: these imports take half a second and 100 MB that a waiting guardian must not hold.
    from mayfly.endpoints.cleanup import end_lease  # noqa: PLC0415
    from mayfly.storage.lease_store import read_lease  # noqa: PLC0415

    end = time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        try:
            lease = read_lease(lease_path)
            end_lease(
                lease, line="guardian", environ=os.environ, budget_s=BUDGET_S, on_step=_write_down
            )
        except FileNotFoundError:
            return 0
        except Exception as error:  # noqa: BLE001 - nobody is left to tell; insist until the end
            _write_down(f"{lease_path.stem}: {type(error).__name__}: {error}")
            time.sleep(PAUSE_S)
        else:
            return 0
    return 4


def _write_down(text: str) -> None:
    """Write a line to `guardian.log`; a disk that takes no more must not hold up a teardown."""
    with suppress(OSError):
        print(time.strftime("%F %T"), text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
