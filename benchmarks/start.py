"""From Enter to the create call: `python -m benchmarks.start`.

`mayfly run` is started as from a shell, without a Prefect server, against an emulator. A forwarder
between them takes the time and the CPU of the run and its children when the call that creates the
endpoint passes. The run is then interrupted, and deletes its endpoint.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import psutil

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table

MODEL = "Qwen/Qwen2.5-7B-Instruct"
PATIENCE_S = 120.0


class Forwarder:
    """Passes bytes on to a port, and records when the first endpoint was asked for.

    Attributes:
        created_at: That time, in seconds on the monotonic clock; None before.
        saw: Set at that time.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.created_at: float | None = None
        self.saw = threading.Event()
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no further connections."""
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                if self.created_at is None and _creates(data):
                    self.created_at = time.monotonic()
                    self.saw.set()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _creates(data: bytes) -> bool:
    method, _, rest = data.partition(b" ")
    return method == b"POST" and rest.partition(b" ")[0].endswith(b"/endpoints")


@contextmanager
def emulator() -> Iterator[int]:
    """Run an emulator; yield its port."""
    command = [sys.executable, "-P", "-m", "together_emulator", "--exit-with-parent"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def started(folder: Path, path: Path, port: int, number: int) -> tuple[float, float]:
    """Start one run; return seconds and CPU seconds until it creates its endpoint."""
    forwarder = Forwarder(port)
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    env |= {
        "HOME": str(folder),
        "TOGETHER_API_KEY": "local",
        "TOGETHER_BASE_URL": f"http://127.0.0.1:{forwarder.port}",
    }
    command = [sys.executable, "-P", "-m", "mayfly.cli.entry", "run", str(path), "--yes"]
    command += ["--model", MODEL, "--output", str(folder / f"output-{number}")]
    began = time.monotonic()
    run = subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if not forwarder.saw.wait(PATIENCE_S) or forwarder.created_at is None:
            raise SystemExit(f"no endpoint was created: {' '.join(command)}")
        cpu_s = _cpu_s(run.pid)
        # An interrupted create call is searched for until it can have no effect any more.
        time.sleep(1.0)
        return forwarder.created_at - began, cpu_s
    finally:
        with suppress(ProcessLookupError):
            run.send_signal(signal.SIGINT)
        run.wait(PATIENCE_S)
        forwarder.close()


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, ended ones included."""
    used = 0.0
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mayfly-start-") as name, emulator() as port:
        folder = Path(name)
        path = write_input(folder / "input.parquet", 1000)
        found = [started(folder, path, port, number) for number in range(options.rounds + 1)]
    # The first run of a home makes Prefect's template of a database, once.
    walls, cpus = zip(*found[1:], strict=True)
    load = os.getloadavg()[0]
    figures = {
        "first_s": found[0][0],
        "wall_s_min": min(walls),
        "wall_s_median": median(walls),
        "cpu_s_min": min(cpus),
        "cpu_s_median": median(cpus),
        "load": load,
    }
    columns = ["first run of a home, s", "s, min", "median", "CPU s, min", "median", "load"]
    table("from Enter to the create call", columns, [list(figures.values())])
    keep("start", figures)


if __name__ == "__main__":
    main()
