"""The guardian: a process that outlives a killed flow and tears its endpoint down.

It holds the reading end of a pipe whose writing end only the flow has, and watches the flow's
process itself. The flow writes its lease into the pipe whenever that changes, and a heartbeat every
few seconds, so that the guardian needs no disk. It acts

- when the flow has died without having let it go (SIGKILL, out of memory, a worker that is
  stopped): the kernel closes the flow's end, and the guardian acts within milliseconds;
- when the heartbeats have stopped for two minutes: the flow hangs (SIGSTOP, a disk that does not
  answer) and cannot even die. Only seconds in which the guardian itself was running count, so that
  a machine that was suspended, or too busy for both, loses no endpoint.

While it waits it has imported nothing but the standard library and sleeps in `poll`.
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

from mayfly.system import SYSTEM, System, wait_for

if TYPE_CHECKING:
    from mayfly.models.lease import Lease

RELEASE, BEAT, CLOSING, LEASE = b".", b"h", b"c", b"l"
"""What the flow writes, a line each: let go; I live; the lease is being closed, all has ended; the
lease as it is now, as JSON after the letter."""

READY = b"!"
BEAT_S = 5.0
HANG_S = 120.0
"""How long a flow may be silent before its endpoint is ended. Far above what a busy machine holds a
thread up for; a run that wakes up later notices that its endpoint is gone, and rents another."""

READ_S = 5.0
"""How long the lease on the disk may take to read: the disk may be what hangs."""

BUDGET_S = 3600.0
"""How long the guardian insists: the API may be down for a while, and nobody else is left."""

PAUSE_S = 5.0
START_S = 30.0
"""How long a guardian may take to be awake; a tenth of a second is usual."""

_LOOK_EVERY_S = 1.0
"""How often the flow's process is looked at where the kernel does not tell of its end."""


class Guardian:
    """The flow's end of the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None  # noqa: S101 - asked for in `arm`
        # A guardian that was stopped by somebody reads nothing: nobody waits for it.
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
        """Start a guardian for the endpoint that a lease file names, and wait until it is awake.

        It is in a session of its own, so that neither Ctrl-C nor a closing terminal reaches it.
        Of files it inherits nothing but its end of the pipe: a lock of the flow's is not kept by
        its guardian.

        Args:
            lease: Where the lease is on the disk.
            environ: What its environment has beside this process's, or instead: the connection's
                variables, with the key.
            record: The lease itself, as one line of JSON.
            hang_s: How long it bears without a heartbeat, in seconds.

        Raises:
            TerminalError: It could not be started; do not create anything.
        """
        from mayfly.models.errors import TerminalError  # noqa: PLC0415 - not while a guardian waits

        lease = lease.absolute()
        try:
            with (lease.parent / "guardian.log").open("ab") as log:
                process = subprocess.Popen(
                    # -P: a folder `mayfly` where the user happens to be is not ours.
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
        with process.stdout as said:
            awake, _, _ = select.select([said], [], [], START_S)
            if not awake or said.read(1) != READY:
                process.kill()
                process.wait()
                raise TerminalError(
                    f"guardian of {lease.stem} did not start, see {lease.parent / 'guardian.log'}; "
                    "nothing was created"
                )
        guardian = cls(process)
        guardian.tell(record)
        return guardian

    def tell(self, record: bytes) -> None:
        """Tell it what the lease is now, as one line of JSON."""
        if record:
            self._write(LEASE + record.replace(b"\n", b" "))

    def beat(self) -> None:
        """Tell it that the flow lives and moves."""
        self._write(BEAT)

    def closing(self) -> None:
        """Tell it that the endpoint has ended as it should, and its lease is about to be closed."""
        self._write(CLOSING)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for in `arm`
        # Broken, closed or full: it is gone, let go or stopped.
        with suppress(OSError, ValueError):
            os.write(self._process.stdin.fileno(), line + b"\n")

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
        self._write(RELEASE)
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PAUSE_S)
        except subprocess.TimeoutExpired:
            # Stopped by somebody; it will read the byte when it goes on.
            return


def main(lease_path: Path, flow: int, hang_s: float) -> int:
    """Wait for the flow's end, and act if it did not say that all is well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The flow may die while we wake up: then there is the more to do.
    with suppress(BrokenPipeError):
        os.write(1, READY)
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)
    watch = Watch(flow, hang_s)
    why = watch.until_needed()
    if why is None:
        return 0
    _write_down(f"{lease_path.stem}: {why}; ending its endpoint")
    return act(lease_path, watch)


class Watch:
    """What the guardian knows of its flow.

    Attributes:
        record: The lease as it was told last, as JSON; b"" when it was not.
        closing: Whether the flow has said that all has ended.
    """

    def __init__(self, flow: int, hang_s: float, system: System = SYSTEM) -> None:
        self.record, self.closing = b"", False
        self._flow, self._hang_s, self._system = flow, hang_s, system
        self._released, self._ended, self._rest = False, False, b""

    def until_needed(self) -> str | None:
        """Wait until the flow lets us go (None), or has died or hangs: why we are needed.

        Its end of the pipe alone would not do: what the flow has forked inherits it, and may live
        on.
        """
        died = None
        with suppress(ProcessLookupError):
            died = self._system.watch(self._flow) if os.getppid() == self._flow else None
        descriptors = [0] if died is None else [0, died]
        # Far below the limit: the one wait in which we were stopped must not be all of it.
        slice_s = min(self._hang_s / 8, BEAT_S if died is not None else _LOOK_EVERY_S)
        silent_s = 0.0
        while True:
            began = time.monotonic()
            ready = wait_for(descriptors, slice_s)
            # No more than was waited on purpose: while we were stopped, so was the flow perhaps.
            silent_s += min(time.monotonic() - began, slice_s)
            if 0 in ready:
                self._read()
                silent_s = 0.0
            gone = os.getppid() != self._flow or died in ready
            if gone and not self._ended:
                # Last lines may have been written just before.
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
        *lines, self._rest = (self._rest + data).split(b"\n")
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


def act(lease_path: Path, watch: Watch) -> int:
    """Tear down what the lease names now: the flow may have changed it since we were armed."""
    # Only now: these imports take half a second and 100 MB that a waiting guardian must not hold.
    from mayfly.endpoints.cleanup import end_lease  # noqa: PLC0415

    end = time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        try:
            lease = last_known(lease_path, watch)
            if lease is None:
                return 0
            end_lease(
                lease, line="guardian", environ=os.environ, budget_s=BUDGET_S, on_step=_write_down
            )
        except Exception as error:  # noqa: BLE001 - nobody is left to tell; insist until the end
            _write_down(f"{lease_path.stem}: {type(error).__name__}: {error}")
            time.sleep(PAUSE_S)
        else:
            return 0
    return 4


def last_known(lease_path: Path, watch: Watch) -> "Lease | None":
    """Return the lease: from the disk, or as it was told where the disk has none or hangs.

    None when the flow, or somebody for it, has closed it.
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
        _write_down(f"{lease_path}: {type(error).__name__}: {error}; going by what the run told")
        return Lease.from_dict(orjson.loads(watch.record))
    return found[0]


def _write_down(text: str) -> None:
    """Write a line to `guardian.log`; a disk that takes no more must not hold up a teardown."""
    with suppress(OSError):
        print(time.strftime("%F %T"), text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
