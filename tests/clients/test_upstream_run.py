"""`mayfly run` against `mayfly emulator --upstream`: emulated lifecycle, real answers."""

import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from tests.support.together_clients import MODEL
from tests.support.upstream_server import UpstreamHandler

ROOT = Path(__file__).parents[2]


def test_run_with_upstream_uses_the_answers_of_a_local_server(tmp_path: Path) -> None:
    mayfly = str(Path(sys.executable).with_name("mayfly"))
    received: list[dict[str, Any]] = []
    handler = type("Handler", (UpstreamHandler,), {"seen": received})
    pd.DataFrame({"prompt": [f"Say {n}" for n in range(6)]}).to_parquet(tmp_path / "in.parquet")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as behind:
        threading.Thread(target=behind.serve_forever, args=(0.01,), daemon=True).start()
        upstream = f"http://127.0.0.1:{behind.server_port}"
        with subprocess.Popen(
            [mayfly, "emulator", "--speed", "300", "--upstream", upstream],
            stdout=subprocess.PIPE,
            text=True,
        ) as emulator:
            try:
                assert emulator.stdout is not None
                url = emulator.stdout.readline().split()[-1]
                ended = subprocess.run(
                    [
                        *(mayfly, "run", str(tmp_path / "in.parquet"), "--model", MODEL),
                        *("--output", str(tmp_path / "out"), "--yes"),
                    ],
                    cwd=ROOT,
                    env=os.environ
                    | {
                        "TOGETHER_BASE_URL": url,
                        "TOGETHER_API_KEY": "local",
                        "MAYFLY_HOME": str(tmp_path / "home"),
                    },
                    capture_output=True,
                    text=True,
                    timeout=200,
                    check=False,
                )
                billing = httpx.get(f"{url}/_emulator/ledger").json()["billing"]
                deployments = httpx.get(f"{url}/_emulator/deployments").json()["deployments"]
            finally:
                emulator.terminate()
        behind.shutdown()

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(pd.read_parquet(tmp_path / "out")["response"]) == ["Hello there."] * 6
    assert {body["model"] for body in received} == {"tiny.gguf"}
    assert (billing, deployments) == (0, [])
