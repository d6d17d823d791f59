"""Starts `mayfly` commands as real processes without paying for Prefect's import each time.

It imports the flow once and forks a child per command: the child is a session and a process group
of its own, has its own environment and files, and is killed like any other process. One JSON
object a line: in come commands, out go process ids, and exit codes with the CPU time they took.
"""

import faulthandler
import importlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

REAP_EVERY_S = 0.005

PRELOADED = (
    "mayfly.flows.batch_inference",
    "mayfly.cli.endpoints",
    "mayfly.cli.run",
    "mayfly.together.endpoints_v2",
    "mayfly.runs.status",
    # What these import only when they are used.
    "fastapi",
    "pandas",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "pyarrow.compute",
    "together.pagination",
    "together.resources",
)


def main() -> None:
    """Serve until standard input ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    log({"ready": True})
    children: dict[int, int] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], REAP_EVERY_S if children else None)
        if readable:
            if not (data := os.read(0, 65536)):
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                pid = start(command)
                children[pid] = command["id"]
                log({"id": command["id"], "pid": pid})
        while children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            cpu_s = usage.ru_utime + usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            log({"id": children.pop(pid), "code": code, "cpu_s": cpu_s})


def log(event: dict[str, Any]) -> None:
    """Write one event."""
    os.write(1, json.dumps(event).encode() + b"\n")


def start(command: dict[str, Any]) -> int:
    """Fork a child that runs one command; return its process id."""
    if pid := os.fork():
        return pid
    os.setsid()
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        output_file = os.open(command["output_file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number, descriptor in enumerate((nothing, output_file, output_file)):
            os.dup2(descriptor, number)
        for variable, value in command["env"].items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        os.chdir(command.get("folder", "."))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.register(signal.SIGUSR1)
        code = run(command)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter would do
        traceback.print_exc()
    # Exit handlers are the parent's too: Prefect registered its own at import.
    sys.exit(code)


def run(command: dict[str, Any]) -> int:
    """Run `mayfly` with the command's arguments, or the flow itself as a script would.

    `file_bytes` is the largest file that may be written: a disk that is full.
    """
    if most := command.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if (flows := command.get("flows")) is not None:
        return at_once(flows)
    if (flow := command.get("flow")) is not None:
        # As a script runs it: by the flow's own options, without the command line around it.
        from mayfly.flows.batch_inference import batch_inference  # noqa: PLC0415

        batch_inference.with_options(**flow["options"])(**flow["parameters"])
        return 0
    from mayfly.cli.main import main as mayfly  # noqa: PLC0415

    return mayfly(command["argv"])


def at_once(flows: list[dict[str, Any]]) -> int:
    """Run the flow for several sets of parameters at once, each in a thread; `credentials` are a
    block's fields."""
    from mayfly.flows.batch_inference import batch_inference  # noqa: PLC0415
    from mayfly.orchestration.credentials import TogetherCredentials  # noqa: PLC0415

    def run_one(given: dict[str, Any]) -> int:
        block = TogetherCredentials(**given.pop("credentials"))
        return int(batch_inference(credentials=block, **given)["rows"]["failed"])

    with ThreadPoolExecutor(len(flows)) as pool:
        return sum(pool.map(run_one, flows))


if __name__ == "__main__":
    main()
