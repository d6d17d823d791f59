"""Cheap servers for measuring clients, each in its own process, ended by its id."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any

import orjson

SERVER_CORE, CLIENT_CORE = 1, 0

COMPLETION = orjson.dumps(
    {
        "id": "o7Xq3nB-4yUWTN-98e4b7a0c1d2e3f4",
        "object": "chat.completion",
        "created": 1785000000,
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "seed": 1234567890,
                "message": {
                    "role": "assistant",
                    "content": "Category: delivery. The customer says that the parcel was due on "
                    "Monday, has not come, and that nobody answers; a new date and a refund of the "
                    "postage would settle the matter.",
                    "tool_calls": [],
                },
            }
        ],
        "usage": {
            "prompt_tokens": 118,
            "completion_tokens": 42,
            "total_tokens": 160,
            "cached_tokens": 64,
        },
        "prompt": [],
    }
)
"""A chat completion of some 600 bytes."""

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  client_body_buffer_size 256k;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; scgi_temp_path {folder}/scgi; uwsgi_temp_path {folder}/uwsgi;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port}{ssl};
    {certificate}
    location / {{ return 200 '{body}'; }}
  }}
}}
"""


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nginx(folder: Path, *, certificate: Path | None = None) -> Iterator[str]:
    """Run nginx with a fixed response and yield its URL; it needs Debian's nginx, but no root.

    Args:
        folder: For its configuration and what it writes.
        certificate: PEM with key and certificate, for TLS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lines = ""
    if certificate is not None:
        lines = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(
            folder=folder,
            port=port,
            ssl=" ssl" if certificate else "",
            certificate=lines,
            body=COMPLETION.decode(),
        )
    )
    program = which("nginx") or which("nginx", path="/usr/sbin")
    if program is None:
        raise SystemExit("nginx is not installed; install Debian's nginx and run this again")
    scheme = "http" if certificate is None else "https"
    with _running([program, "-p", str(folder), "-c", str(config)], port):
        yield f"{scheme}://127.0.0.1:{port}"


def certificate(folder: Path) -> Path:
    """Create a key and a self-signed certificate for 127.0.0.1; return both as PEM."""
    folder.mkdir(parents=True, exist_ok=True)
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


@contextmanager
def slow_server(*options: str) -> Iterator[str]:
    """Run `benchmarks.slow_server` with options and yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.slow_server", "--port", str(port), *options]
    with _running(command, port):
        yield f"http://127.0.0.1:{port}"


def counts(url: str) -> dict[str, Any]:
    """Return the counters of a slow server."""
    seen: dict[str, Any] = _get(f"{url}/counts")
    return seen


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - loopback
        return orjson.loads(answer.read())


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        with suppress(OSError):
            os.sched_setaffinity(process.pid, {SERVER_CORE})
        _await_port(process, port)
        # nginx's worker inherits the core only if it is started after the setting.
        for child in _children(process.pid):
            os.sched_setaffinity(child, {SERVER_CORE})
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not listen on port {port}")


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
