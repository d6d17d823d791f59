"""The guardian: a process that tears an endpoint down when its run is killed or hangs.

It holds the reading end of a pipe whose writing end only the run has, and watches the run's
process. The run writes its lease into the pipe whenever it changes, and a heartbeat every few
seconds, so that the guardian needs no disk. It tears the endpoint down

- when the run dies without releasing it (SIGKILL, out of memory, a stopped worker): the kernel
  closes the run's end of the pipe, and the guardian reacts within milliseconds;
- when the run hangs (SIGSTOP, a hanging disk) and sends no heartbeat for two minutes. Only time
  in which the guardian itself was running counts, so that a suspended or overloaded machine loses
  no endpoint.

While it waits, it has imported only the standard library and sleeps in `poll`.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.signals import TERMINATION_SIGNALS
from mayfly.system import SYSTEM, System, wait_for

if TYPE_CHECKING:
    from mayfly.models.lease import Lease

RELEASE, BEAT, CLOSING, LEASE = b".", b"h", b"c", b"l"
"""Messages of the run, one per line: release the guardian; heartbeat; the endpoint has ended and
the lease is being closed; the current lease, as JSON after this prefix."""

READY = b"!"
BEAT_S = 5.0
HANG_S = 120.0
"""Seconds without a heartbeat after which the endpoint is torn down: far longer than a busy machine
delays a thread. A run that wakes up later notices the loss and creates another endpoint."""

READ_S = 5.0
"""Time limit for reading the lease: the disk may be what hangs."""

BUDGET_S = 3600.0
"""Time limit for the teardown: the API may be unavailable for a while."""

PAUSE_S = 5.0
START_S = 30.0
"""Time limit for the start of a guardian, which usually takes a tenth of a second."""

_POLL_S = 1.0
"""Interval for polling the run's process where the kernel does not report its end."""


class Guardian:
    """The run's end of the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None  # noqa: S101 - asked for in `arm`
        # A guardian that was stopped (SIGSTOP) reads nothing; writes must not block.
        os.set_blocking(process.stdin.fileno(), False)

    @classmethod
    def arm(
        cls,
        lease: Path,
        environ: Mapping[str, str],
        *,
        record: bytes = b"",
        hang_s: float = HANG_S,
    ) -> "Guardian":
        """Start a guardian for the endpoint of a lease, and wait until it is ready.

        It runs in its own session, so that neither Ctrl-C nor a closing terminal reaches it. It
        inherits no files except its end of the pipe, so that it does not hold the run's locks.

        Args:
            lease: Path of the lease file.
            environ: Environment variables to add or replace: those of the connection, with the
                API key.
            record: The lease as one line of JSON.
            hang_s: Seconds without a heartbeat after which it tears the endpoint down.

        Raises:
            TerminalError: It could not be started; do not create anything.
        """
        from mayfly.models.errors import TerminalError  # noqa: PLC0415 - not while a guardian waits

        lease = lease.absolute()
        try:
            with (lease.parent / "guardian.log").open("ab") as log:
                process = subprocess.Popen(
                    # -P: a folder `mayfly` in the working directory must not shadow the package.
                    [
                        *(sys.executable, "-P", "-m", __name__),
                        *(str(lease), str(os.getpid()), str(hang_s)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=lease.parent,
                    env={**os.environ, **environ, "MAYFLY_HOME": str(lease.parent.parent)},
                    start_new_session=True,
                )
        except OSError as error:
            raise TerminalError(
                f"guardian of {lease.stem} cannot be started: {error}; nothing was created"
            ) from error
        assert process.stdout is not None  # noqa: S101 - asked for above
        with process.stdout as output:
            awake, _, _ = select.select([output], [], [], START_S)
            if not awake or output.read(1) != READY:
                process.kill()
                process.wait()
                raise TerminalError(
                    f"guardian of {lease.stem} did not start, see {lease.parent / 'guardian.log'}; "
                    "nothing was created"
                )
        guardian = cls(process)
        guardian.send_lease(record)
        return guardian

    def send_lease(self, record: bytes) -> None:
        """Send the current lease, as one line of JSON."""
        if record:
            self._write(LEASE + record.replace(b"\n", b" "))

    def beat(self) -> None:
        """Send a heartbeat."""
        self._write(BEAT)

    def closing(self) -> None:
        """Announce that the endpoint has ended, and that its lease is about to be closed."""
        self._write(CLOSING)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for in `arm`
        # Broken, closed or full: the guardian is dead, released or stopped.
        with suppress(OSError, ValueError):
            os.write(self._process.stdin.fileno(), line + b"\n")

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the guardian runs."""
        return self._process.poll() is None

    def release(self) -> None:
        """Release the guardian: the endpoint has ended."""
        assert self._process.stdin is not None  # noqa: S101 - asked for in `arm`
        self._write(RELEASE)
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PAUSE_S)
        except subprocess.TimeoutExpired:
            # It was stopped (SIGSTOP), and reads the message when it continues.
            return


def main(lease_path: Path, flow: int, hang_s: float) -> int:
    """Wait for the end of the run, and tear the endpoint down unless it was released."""
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # If the run dies during the start, there is still an endpoint to end.
    with suppress(BrokenPipeError):
        os.write(1, READY)
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)
    watch = FlowWatch(flow, hang_s)
    why = watch.wait_for_end()
    if why is None:
        return 0
    _log(f"{lease_path.stem}: {why}; ending its endpoint")
    return act(lease_path, watch)


class FlowWatch:
    """The guardian's view of its run.

    Attributes:
        record: The last lease received, as JSON; b"" when there was none.
        closing: Whether the run has announced that the endpoint has ended.
    """

    def __init__(self, flow: int, hang_s: float, system: System = SYSTEM) -> None:
        self.record, self.closing = b"", False
        self._flow, self._hang_s, self._system = flow, hang_s, system
        self._released, self._ended, self._partial = False, False, b""

    def wait_for_end(self) -> str | None:
        """Wait until the run releases the guardian (None), or has died or hangs (the reason).

        The end of the pipe alone does not show its death: processes forked by the run inherit it
        and may survive.
        """
        died = None
        with suppress(ProcessLookupError):
            died = self._system.watch(self._flow) if os.getppid() == self._flow else None
        descriptors = [0] if died is None else [0, died]
        # Far below the limit: a wait during which this process was stopped must not use it up.
        slice_s = min(self._hang_s / 8, BEAT_S if died is not None else _POLL_S)
        silent_s = 0.0
        while True:
            began = time.monotonic()
            ready = wait_for(descriptors, slice_s)
            # Count no more than the intended wait: if this process was stopped, so may the run be.
            silent_s += min(time.monotonic() - began, slice_s)
            if 0 in ready:
                self._read()
                silent_s = 0.0
            gone = os.getppid() != self._flow or died in ready
            if gone and not self._ended:
                # Read lines that were written just before.
                while not self._ended and 0 in wait_for([0], 0):
                    self._read()
            if self._released:
                return None
            if gone or self._ended:
                return "the run has died"
            if silent_s >= self._hang_s:
                return f"the run has given no heartbeat for {silent_s:.0f} s"

    def _read(self) -> None:
        data = os.read(0, 65536)
        self._ended = not data
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            match line[:1]:
                case b".":
                    self._released = True
                case b"c":
                    self.closing = True
                case b"l":
                    self.record = line[1:]
                case _:
                    continue


def act(lease_path: Path, watch: FlowWatch) -> int:
    """Tear down the endpoint of the current lease, which may have changed since the start."""
    # Imported late: these modules take half a second and 100 MB.
    from mayfly.endpoints.cleanup import end_lease  # noqa: PLC0415

    end = time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        try:
            lease = latest_lease(lease_path, watch)
            if lease is None:
                return 0
            end_lease(lease, line="guardian", environ=os.environ, budget_s=BUDGET_S, on_step=_log)
        except Exception as error:  # noqa: BLE001 - retry on any error until the end
            _log(f"{lease_path.stem}: {type(error).__name__}: {error}")
            time.sleep(PAUSE_S)
        else:
            return 0
    return 4


def latest_lease(lease_path: Path, watch: FlowWatch) -> "Lease | None":
    """Return the lease from the disk, or the last one received if the disk has none or hangs.

    None when the lease has been closed.
    """
    import orjson  # noqa: PLC0415 - not while a guardian waits

    from mayfly.models.lease import Lease  # noqa: PLC0415
    from mayfly.storage.bounded_work import BoundedWork  # noqa: PLC0415
    from mayfly.storage.lease_store import read_lease  # noqa: PLC0415

    found: list[Lease] = []
    try:
        BoundedWork(READ_S).do(lambda: found.append(read_lease(lease_path)))
    except Exception as error:
        if isinstance(error, FileNotFoundError) and (watch.closing or not watch.record):
            return None
        if not watch.record:
            raise
        _log(
            f"{lease_path}: {type(error).__name__}: {error}; using the last lease that the run sent"
        )
        return Lease.from_dict(orjson.loads(watch.record))
    return found[0]


def _log(text: str) -> None:
    """Write a line to `guardian.log`; a full disk must not stop a teardown."""
    with suppress(OSError):
        print(time.strftime("%F %T"), text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
