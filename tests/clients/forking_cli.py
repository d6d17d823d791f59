"""Run commands of the `together` command line in a Python that has it, one fork for each.

Most of a command's time is Python importing it. So this imports it once and forks for each
command, which then runs its own `main()` as the console script does: the client is not changed,
only warm. Lines of JSON come in on standard input (the arguments) and go out (code, out, err).

It is run by the client's own Python, not by ours, and imports nothing but the client.
"""

import contextlib
import importlib
import json
import os
import sys
import tempfile
import traceback

import together.lib.cli as client


def run(arguments: list[str]) -> dict[str, object]:
    """Run one command in a child and return its exit code and what it printed."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as names,
    ):
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = command(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(names.fileno(), "\n".join(sorted(sys.modules)).encode())
            os._exit(code)
        _, status = os.waitpid(child, 0)
        warm(read(names))
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": read(out),
            "err": read(err),
        }


def command(arguments: list[str]) -> int:
    """Do what the console script does."""
    sys.argv = ["together", *arguments]
    try:
        client.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - what the interpreter does with it
        traceback.print_exc()
        return 1
    return 0


def read(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    raw: bytes = file.read()  # type: ignore[attr-defined]
    return raw.decode(errors="replace")


def warm(names: str) -> None:
    """Import what the child had to import, so that the next one has not."""
    for name in names.split("\n"):
        if name.startswith(("together", "rich", "cyclopts", "httpx", "pydantic")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201 - it is the protocol
