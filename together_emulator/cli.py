"""The command line: an emulated Together in the foreground."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from together_emulator.http.server import Emulator

_LINGER_POLL_S = 0.1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mayfly emulator",
        description="An emulated Together AI on loopback, in the foreground: point any client at "
        "the URL that it prints (TOGETHER_BASE_URL), with the key `local`.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument(
        "--speed", type=float, default=60.0, help="emulated seconds in a real second (60)"
    )
    parser.add_argument("--key", default="local", help="the API key that is let in (local)")
    parser.add_argument(
        "--replicas-free",
        action="append",
        default=[],
        metavar="HARDWARE[@REGION]=N",
        help="how many replicas fit, such as 1xnvidia-h100-80gb@us-east-1=0; may be repeated",
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fault rules, JSON or TOML")
    parser.add_argument("--seed", type=int, default=0, help="of ids and faults by chance (0)")
    parser.add_argument(
        "--v1-create",
        action="store_true",
        help="let the legacy API create and restart endpoints, which it refuses by now (403)",
    )
    parser.add_argument(
        "--upstream",
        default="",
        metavar="URL",
        help="a server that speaks OpenAI's API (vLLM, llama.cpp, Ollama) answers inference",
    )
    parser.add_argument(
        "--upstream-model",
        default="",
        metavar="NAME",
        help="what that server calls its model (the first that it lists)",
    )
    parser.add_argument(
        "--upstream-key-from",
        default="",
        metavar="VARIABLE",
        help="environment variable that holds that server's key",
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end some time after standard input has ended, which whoever starts this holds open",
    )
    parser.add_argument(
        "--linger",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds to stay after that while an endpoint stands (20)",
    )
    return parser


def read_free(values: Sequence[str]) -> dict[tuple[str, str | None], int]:
    """Read `HARDWARE[@REGION]=N` values (ValueError)."""
    free: dict[tuple[str, str | None], int] = {}
    for value in values:
        where, _, number = value.rpartition("=")
        if not where or not number.isdigit():
            raise ValueError(f"--replicas-free {value!r} is not HARDWARE[@REGION]=N")
        hardware, _, region = where.partition("@")
        free[hardware, region or None] = int(number)
    return free


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or (with --exit-with-parent) the end of standard input.

    Prints `listening on http://127.0.0.1:PORT` once it listens. Returns the exit code.
    """
    options = _parser().parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        emulator = Emulator(
            speed=options.speed,
            port=options.port,
            key=options.key,
            seed=options.seed,
            v1_create=options.v1_create,
            upstream=options.upstream,
            upstream_model=options.upstream_model,
            upstream_key=os.environ.get(options.upstream_key_from, ""),
            faults=options.faults or (),
            free=read_free(options.replicas_free),
        )
    except (ValueError, KeyError, OSError) as error:
        sys.stderr.write(f"together_emulator: {error}\n")
        return 2
    try:
        with emulator:
            sys.stdout.write(f"listening on {emulator.url}\n")
            sys.stdout.flush()
            if options.exit_with_parent:
                threading.Thread(
                    target=_outlive_parent, args=(emulator, ended, options.linger), daemon=True
                ).start()
            # Waiting in slices lets the interpreter run the signal handlers on every platform.
            while not ended.wait(1.0):
                pass
    except OSError as error:
        sys.stderr.write(f"together_emulator: cannot listen on port {options.port}: {error}\n")
        return 1
    return 0


def _outlive_parent(emulator: Emulator, ended: threading.Event, linger_s: float) -> None:
    """Wait for the end of standard input, then until no endpoint stands, but not for ever."""
    sys.stdin.buffer.read()
    until = time.monotonic() + linger_s
    while time.monotonic() < until and emulator.stands and not ended.is_set():
        time.sleep(_LINGER_POLL_S)
    ended.set()
