"""Runs as real processes, with a machine (folder, home, emulator) of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.lease import Lease
from mayfly.storage.lease_store import LeaseStore
from tests.support.wait import TIMEOUT_S, wait_until
from together_emulator import Emulator

MODEL = "Qwen/Qwen2.5-7B-Instruct"
PATIENCE_S = 90.0
"""How long a condition may take to come true on a busy machine."""

Environment = Mapping[str, str | None]


class Process:
    """One command, forked by a `Launcher`.

    Attributes:
        output_file: The file with its output.
        cpu_s: What it took; known once it has ended.
    """

    def __init__(self, output_file: Path) -> None:
        self.output_file = output_file
        self.pid = 0
        self.cpu_s = 0.0
        self.started = threading.Event()
        self._ended = threading.Event()
        self._code = 0

    def note(self, event: dict[str, Any]) -> None:
        """Take what the launcher says about it."""
        if "pid" in event:
            self.pid = event["pid"]
            self.started.set()
        else:
            self._code, self.cpu_s = event["code"], event["cpu_s"]
            self._ended.set()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; return its exit code, negative for the signal that killed it."""
        if not self._ended.wait(timeout_s):
            self.signal(signal.SIGUSR1)
            self._ended.wait(1)
            raise AssertionError(f"still running after {timeout_s:.0f} s: {self.text}")
        return self._code

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.output_file.read_text(errors="replace") if self.output_file.exists() else ""

    @property
    def json(self) -> Any:
        """The value of `--json`; before it, standard error may say what a command waits for."""
        text = self.text
        start = min((at for bracket in "[{" if (at := text.find(bracket)) >= 0), default=0)
        return orjson.loads(text[start:])

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole process group as a terminal does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def guardians(self) -> list[psutil.Process]:
        """Return the guardians that it has armed and that live."""
        return self._children("guardian")

    def workers(self) -> list[psutil.Process]:
        """Return the processes in which it answers shards."""
        return self._children("mayfly.workers")

    def _children(self, word: str) -> list[psutil.Process]:
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if word in " ".join(_words(child))]

    def kill_all(self) -> None:
        """Kill its guardians and itself, as the loss of a machine would."""
        for guardian in self.guardians():
            with suppress(psutil.NoSuchProcess):
                guardian.kill()
        self.signal(signal.SIGKILL)
        self.wait()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class Launcher:
    """A fork server in a process of its own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(env),
        )
        self._known: list[Process] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, name="launcher", daemon=True).start()

    def start(
        self, argv: Sequence[str], *, env: Environment, output_file: Path, **more: Any
    ) -> Process:
        """Start `mayfly` with these arguments and changes to the environment."""
        assert self._ready.wait(PATIENCE_S), "the fork server did not start"
        process = Process(output_file)
        self._known.append(process)
        command = {
            "id": len(self._known) - 1,
            "argv": list(argv),
            "env": dict(env),
            "output_file": str(output_file),
            **more,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        assert process.started.wait(PATIENCE_S)
        return process

    def close(self) -> None:
        """End it, and what it started."""
        for process in self._known:
            if process.alive and process.pid:
                process.kill_all()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event.pop("ready", False):
                self._ready.set()
                continue
            self._known[event.pop("id")].note(event)


@dataclass
class Machine:
    """An emulated Together, an input, a folder for the answers and a home: a machine of one's own.

    Attributes:
        api: Generation of the endpoint API that is spoken.
        rows: Of the input, one prompt each.
    """

    emulator: Emulator
    launcher: Launcher
    folder: Path
    api: str = "v2"
    model: str = MODEL
    rows: int = 24
    concurrency: int = 4
    env: dict[str, str | None] = field(default_factory=dict)
    _outputs: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        prompts = [f"Question {row} of {self.folder.name}" for row in range(self.rows)]
        pq.write_table(pa.table({"n": range(self.rows), "prompt": prompts}), self.input)

    @property
    def input(self) -> Path:
        """The dataset."""
        return self.folder / "input.parquet"

    @property
    def output(self) -> Path:
        """Where the answers go."""
        return self.folder / "output"

    @property
    def home(self) -> Path:
        """MAYFLY_HOME."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str | None]:
        """What a process on this machine finds in its environment."""
        return {
            "TOGETHER_API_KEY": self.emulator.key,
            "TOGETHER_BASE_URL": self.emulator.url,
            "TOGETHER_PROJECT_ID": None,
            "MAYFLY_HOME": str(self.home),
            "COLUMNS": "250",
            **self.env,
        }

    def command(
        self, *argv: str, timeouts: Mapping[str, float] | None = None, **more: Any
    ) -> Process:
        """Start `mayfly` with any arguments, and with other times than those of `Timeouts`."""
        self._outputs += 1
        output_file = self.folder / f"output-{self._outputs}.txt"
        env = {**self.environment, "MAYFLY_TIMEOUTS": json.dumps(timeouts) if timeouts else None}
        return self.launcher.start(argv, env=env, output_file=output_file, **more)

    def run(self, *options: str, **more: Any) -> Process:
        """Start `mayfly run` over the input."""
        return self.command(
            *("run", str(self.input), "--model", self.model, "--output", str(self.output), "--yes"),
            *("--api", self.api, "--concurrency", str(self.concurrency), *options),
            **more,
        )

    def script(self, *, parameters: dict[str, Any] | None = None, **options: Any) -> Process:
        """Start the flow itself, as a script does; `options` are the flow's, such as a time-out."""
        given = {
            "input": str(self.input),
            "model": self.model,
            "output": str(self.output),
            "limits": {"concurrency": self.concurrency},
        }
        return self.command(flow={"options": options, "parameters": given | (parameters or {})})

    def switch_off(self) -> None:
        """End the guardians that would insist for an hour: what they speak to is about to go."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(word.startswith(str(self.home)) for word in words):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def sweep(self, *options: str) -> dict[str, Any]:
        """Run `mayfly sweep --json` to its end; return its report."""
        process = self.command("sweep", "--json", "--api", self.api, *options)
        code = process.wait()
        assert code == 0, process.text
        report: dict[str, Any] = process.json
        return report

    # What can be seen from outside.

    def leases(self) -> tuple[Lease, ...]:
        """Return the open leases."""
        return LeaseStore(self.home).list().open

    def report(self) -> dict[str, Any]:
        """Return the last run's report."""
        report: dict[str, Any] = orjson.loads(
            (self.output / "_mayfly" / "report.json").read_bytes()
        )
        return report

    def proofs(self) -> list[dict[str, Any]]:
        """Return the proofs of teardown that lie beside the answers."""
        path = self.output / "_mayfly" / "teardown.json"
        return list(orjson.loads(path.read_bytes())) if path.exists() else []

    def management(self) -> list[tuple[str, str]]:
        """Return the calls to the control plane so far: method and path."""
        return [(call.method, call.path) for call in self.emulator.calls() if not _asks(call.path)]

    def answered(self) -> int:
        """Return how many rows the endpoint has answered."""
        return sum(_asks(call.path) and call.effect == 200 for call in self.emulator.calls())

    def await_gone(self, timeout_s: float = TIMEOUT_S) -> float:
        """Wait until no endpoint exists or bills; return how many seconds billing took."""
        began = time.monotonic()
        wait_until(lambda: self.emulator.billing == 0, "end of billing", timeout_s=timeout_s)
        stopped_s = time.monotonic() - began
        wait_until(lambda: not self.emulator.has_endpoints, "deleted endpoint")
        return stopped_s

    def rows_in_output(self) -> list[int]:
        """Return the rows of the output, by their number, in its order."""
        return [int(n) for n in pq.read_table(self.output)["n"].to_pylist()]

    def assert_complete(self) -> None:
        """Every row is there once, in order, with an answer."""
        table = pq.read_table(self.output)
        assert table["n"].to_pylist() == list(range(self.rows))
        assert table["response"].null_count == 0


def _asks(path: str) -> bool:
    return path.startswith("/v1/chat/")


@contextmanager
def quick_emulator(**settings: Any) -> Iterator[Emulator]:
    """Start an emulator whose endpoints start and stop within a blink."""
    quick: dict[str, Any] = {
        "speed": 20.0,
        "schedule_s": 0.2,
        "start_factor": 0.002,
        "drain_s": 1.0,
        "routing_s": 0.2,
    }
    with Emulator(**quick | settings) as emulator:
        yield emulator


class Forwarder:
    """A way to a server that can be cut, as if the server had been killed, and opened again."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.resume()

    def resume(self) -> None:
        """Listen again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse connections from now on, and break those there are."""
        if self._listener is not None:
            # A thread that waits in `accept` would keep it open.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        while self._open:
            end = self._open.pop()
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
