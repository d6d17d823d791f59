"""Runs that ask before they spend, and what happens when the answer is no, or none."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.prefect.conftest import Stage
from tests.prefect.house import ROOT
from tests.prefect.visitor import eventually

ASK_ALWAYS = {"approve_above_usd": 0}


@contextmanager
def hook_listener() -> Iterator[tuple[str, list[str]]]:
    """Listen on loopback as a chat's webhook does; yields its URL and what it was told."""
    told: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.append(str(json.loads(body)["text"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()
        thread.join()


@pytest.fixture
def told(stage: Stage) -> Iterator[list[str]]:
    """What people are told after the README's command has named a webhook for it."""
    with hook_listener() as (url, told):
        name = f"people-{os.getpid()}"
        stage.prefect.save_block(
            "custom-webhook",
            name,
            name=name,
            url=url,
            method="POST",
            json_data={"text": "{{subject}}: {{body}}"},
        )
        subprocess.run(
            [sys.executable, "-m", "flows.notify", f"custom-webhook/{name}"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": stage.prefect.api, "DO_NOT_TRACK": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        yield told


def test_a_plan_that_is_refused_ends_the_run_with_one_line_and_nothing_was_created(
    stage: Stage, tmp_path: Path, told: list[str]
) -> None:
    created = stage.created()
    run = stage.prefect.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")
    eventually(lambda: [line for line in told if "Paused" in line], "word of the question")

    stage.prefect.ask("POST", f"/flow_runs/{run}/resume", run_input={"decision": "refuse"})

    ended = stage.prefect.await_state(run, "FAILED")
    assert "the plan was refused; nothing was rented" in ended["state"]["message"]
    assert "\n" not in ended["state"]["message"]
    assert stage.created() == created
    eventually(lambda: [line for line in told if "was refused" in line], "word of the failure")


def test_a_plan_that_nobody_answers_ends_the_run_in_time(stage: Stage, tmp_path: Path) -> None:
    created = stage.created()

    run = stage.prefect.start(
        stage.job(tmp_path / "a", limits=ASK_ALWAYS | {"approve_within_s": "2s"})
    )

    ended = stage.prefect.await_state(run, "FAILED")
    assert "nobody approved" in ended["state"]["message"]
    assert stage.created() == created
