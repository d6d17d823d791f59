"""The command line: an emulated Together AI in the foreground."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from together_emulator.http.server import Emulator
from together_emulator.state.catalogue_file import load_catalogue

_LINGER_POLL_S = 0.1


def parser() -> argparse.ArgumentParser:
    """Return the parser of all options."""
    top = argparse.ArgumentParser(
        prog="mayfly emulator",
        description="An emulated Together AI on loopback, in the foreground. Set "
        "TOGETHER_BASE_URL to the URL that it prints, and TOGETHER_API_KEY to its key (local).",
    )
    server = top.add_argument_group("server")
    server.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    server.add_argument("--key", default="local", help="API key that is accepted (default: local)")
    server.add_argument("--seed", type=int, default=0, help="seed of ids and chance faults")
    server.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="exit after standard input ends, which the parent process keeps open",
    )
    server.add_argument(
        "--linger",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds to wait after that while an endpoint exists (default: 20)",
    )
    world = top.add_argument_group("what is emulated")
    world.add_argument(
        "--speed",
        type=_positive,
        default=60.0,
        metavar="X",
        help="emulated seconds per real second; 1 for latencies in real time (default: 60)",
    )
    world.add_argument(
        "--serving-speed",
        type=_seconds,
        default=0.0,
        metavar="X",
        help="the same while an endpoint serves; 1 shortens the waiting but not the answers "
        "(default: as --speed)",
    )
    world.add_argument(
        "--catalogue", type=Path, metavar="FILE", help="models and hardware, JSON or TOML"
    )
    world.add_argument(
        "--slots",
        type=_count,
        default=0,
        metavar="N",
        help="requests that a replica works on at once (default: by its config)",
    )
    world.add_argument(
        "--latency",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="emulated seconds for every answer (default: by speed, length and load)",
    )
    world.add_argument(
        "--replicas-free",
        action="append",
        default=[],
        metavar="HARDWARE[@REGION]=N",
        help="free replicas, such as 1xnvidia-h100-80gb@us-east-1=0; may be repeated",
    )
    world.add_argument("--faults", type=Path, metavar="FILE", help="fault rules, JSON or TOML")
    world.add_argument(
        "--v1-create",
        action="store_true",
        help="allow the legacy API to create and restart endpoints (default: refused with 403)",
    )
    behind = top.add_argument_group("real answers")
    behind.add_argument(
        "--upstream",
        default="",
        metavar="URL",
        help="OpenAI-compatible server (vLLM, llama.cpp, Ollama) that answers inference requests",
    )
    behind.add_argument(
        "--upstream-model",
        action="append",
        default=[],
        metavar="[MODEL=]NAME",
        help="what that server calls MODEL, or every model (default: the same name in its list, "
        "or its first); may be repeated",
    )
    behind.add_argument(
        "--upstream-key-from",
        default="",
        metavar="VARIABLE",
        help="environment variable with that server's API key",
    )
    return top


def _positive(text: str) -> float:
    if (number := float(text)) > 0:
        return number
    raise argparse.ArgumentTypeError("must be positive")


def _count(text: str) -> int:
    if (number := int(text)) >= 0:
        return number
    raise argparse.ArgumentTypeError("cannot be negative")


def _seconds(text: str) -> float:
    if (number := float(text)) >= 0:
        return number
    raise argparse.ArgumentTypeError("cannot be negative")


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


def read_models(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `[MODEL=]NAME` values; a NAME alone is for every model (ValueError)."""
    pairs = []
    for value in values:
        model, _, name = value.rpartition("=")
        if not name:
            raise ValueError(f"--upstream-model {value!r} is not [MODEL=]NAME")
        pairs.append((model, name))
    return tuple(pairs)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or (with --exit-with-parent) the end of standard input.

    Prints `listening on http://127.0.0.1:PORT` once it listens. Returns the exit code.
    """
    options = (command := parser()).parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        emulator = Emulator(
            speed=options.speed,
            port=options.port,
            key=options.key,
            seed=options.seed,
            catalogue=load_catalogue(options.catalogue) if options.catalogue else None,
            serving_speed=options.serving_speed,
            slots=options.slots,
            latency_s=options.latency,
            v1_create=options.v1_create,
            upstream=options.upstream,
            upstream_models=read_models(options.upstream_model),
            upstream_key=os.environ.get(options.upstream_key_from, ""),
            faults=options.faults or (),
            free=read_free(options.replicas_free),
        )
    except (ValueError, KeyError, OSError) as error:
        why = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            why = f"{error.filename} cannot be read: {error.strerror}"
        sys.stderr.write(f"{command.prog}: {why}\n")
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
        sys.stderr.write(f"{command.prog}: cannot listen on port {options.port}: {error}\n")
        return 1
    return 0


def _outlive_parent(emulator: Emulator, ended: threading.Event, linger_s: float) -> None:
    """Wait for the end of standard input, then until no endpoint exists, but not for ever."""
    sys.stdin.buffer.read()
    until = time.monotonic() + linger_s
    while time.monotonic() < until and emulator.has_endpoints and not ended.is_set():
        time.sleep(_LINGER_POLL_S)
    ended.set()
