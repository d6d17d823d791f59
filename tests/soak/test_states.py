"""Prefect states in real time: late approval, suspend, pause, cancel."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.prefect.conftest import KEY, MODEL
from tests.soak.conftest import TimedBatch
from tests.support.prefect_deployments import prefect_command
from tests.support.wait import wait_until

LEASE_RENEWAL_S = 225.0
"""When Prefect ends a run that has given its concurrency slot back by a pause."""

SUSPENDED = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
PAUSED = {"type": "PAUSED", "name": "Paused"}


def set_state(batch: TimedBatch, run: str, state: dict[str, Any]) -> None:
    """Set a run's state as the UI does."""
    answer = batch.stage.prefect.request("POST", f"/flow_runs/{run}/set_state", state=state)
    assert answer["status"] == "ACCEPT", answer


@pytest.mark.soak
def test_run_approved_after_minutes_completes(batch: TimedBatch) -> None:
    client = batch.stage.prefect
    limits = {"concurrency": 1, "approve_above_usd": 0}
    run = client.start_of(batch.deploy("approved-late"), batch.job(limits=limits))
    client.await_state(run, "PAUSED")

    time.sleep(LEASE_RENEWAL_S + 30)

    assert client.run(run)["state_name"] == "Suspended"
    assert not batch.together.has_endpoints
    batch.stage.prefect.resume(run, decision="approve")
    client.await_state(run, "COMPLETED")
    batch.assert_complete(60)


@pytest.mark.soak
def test_run_waiting_for_approval_lets_another_run_start(batch: TimedBatch) -> None:
    client = batch.stage.prefect
    deployment = batch.deploy("gives-its-slot")
    limits = {"concurrency": 1, "approve_above_usd": 0}
    waiting = client.start_of(deployment, batch.job(limits=limits))
    client.await_state(waiting, "PAUSED")

    other = client.start_of(deployment, batch.job(output=str(batch.folder / "other")))

    client.await_state(other, "COMPLETED")
    batch.stage.prefect.resume(waiting, decision="refuse")
    ended = client.await_state(waiting, "FAILED")
    assert ended["state"]["message"] == "the plan was refused; nothing was created"


@pytest.mark.soak
@pytest.mark.parametrize("asked", [SUSPENDED, PAUSED], ids=["suspend", "pause"])
def test_suspended_worker_run_stops_billing_and_resumes(
    batch: TimedBatch, asked: dict[str, Any]
) -> None:
    client = batch.stage.prefect
    run = client.start_of(batch.deploy(f"left-{asked['name'].lower()}"), batch.job())
    batch.await_midway()

    set_state(batch, run, asked)

    batch.await_stopped()
    wait_until(lambda: client.run(run)["state_name"] == "Suspended", "the state", every_s=0.5)
    sent = batch.answered()
    assert sent < 60
    # Its process ends after the endpoint; a resume before that would start a second one beside it.
    wait_until(lambda: "is paused" in client.logs(run) or "Suspended" in client.logs(run),
               "the end of the process", every_s=0.5)  # fmt: skip
    batch.stage.prefect.resume(run)
    client.await_state(run, "COMPLETED")
    batch.assert_complete(60)
    assert batch.answered() <= 61
    assert "Traceback" not in client.logs(run)


@pytest.mark.soak
def test_cancelled_worker_run_stops_billing(batch: TimedBatch) -> None:
    client = batch.stage.prefect
    run = client.start_of(batch.deploy("cancelled"), batch.job())
    batch.await_midway()

    prefect_command(batch.stage.prefect.api, "flow-run", "cancel", run)

    batch.await_stopped()
    client.await_state(run, "CANCELLED")
    assert "Traceback" not in client.logs(run)


@contextmanager
def ad_hoc_run(batch: TimedBatch, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run by the command line on the session's Prefect server."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("TOGETHER_", "PREFECT_"))}
    env = keep | {
        "TOGETHER_BASE_URL": batch.together.url,
        "TOGETHER_API_KEY": KEY,
        "PREFECT_API_URL": batch.stage.prefect.api,
        "MAYFLY_HOME": str(batch.folder / "home"),
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable, "-m", "mayfly.cli.entry", "run", str(batch.folder / "input"),
        "--model", MODEL, "--output", str(batch.output), "--concurrency", "1", "--yes",
        *options,
    ]  # fmt: skip
    with (batch.folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def ad_hoc(batch: TimedBatch) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Such a run, midway, and the id of its flow run."""
    with ad_hoc_run(batch) as process:
        batch.await_midway()
        yield process, batch.stage.prefect.run_with("output", str(batch.output))


@pytest.mark.soak
def test_ad_hoc_run_that_is_paused_after_its_approval_asks_once(batch: TimedBatch) -> None:
    client = batch.stage.prefect
    with ad_hoc_run(batch, "--approve-above", "0") as process:
        run = client.run_with("output", str(batch.output))
        client.await_state(run, "PAUSED")
        client.resume(run, decision="approve")
        batch.await_midway()
        set_state(batch, run, PAUSED)
        batch.await_stopped()

        client.resume(run)

        assert process.wait(180) == 0, (batch.folder / "output.txt").read_text()
    batch.assert_complete(60)
    assert (batch.folder / "output.txt").read_text().count("waiting for approval") == 1


@pytest.mark.soak
def test_paused_ad_hoc_run_stops_billing_and_resumes(
    batch: TimedBatch, ad_hoc: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run = ad_hoc

    set_state(batch, run, PAUSED)

    batch.await_stopped()
    assert batch.stage.prefect.run(run)["state_name"] == "Paused"
    assert process.poll() is None
    batch.stage.prefect.resume(run)
    assert process.wait(180) == 0, (batch.folder / "output.txt").read_text()
    batch.assert_complete(60)
    batch.stage.prefect.await_state(run, "COMPLETED")


@pytest.mark.soak
def test_cancelled_ad_hoc_run_stops_billing(
    batch: TimedBatch, ad_hoc: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run = ad_hoc

    prefect_command(batch.stage.prefect.api, "flow-run", "cancel", run)

    batch.await_stopped()
    assert process.wait(60) == 130, (batch.folder / "output.txt").read_text()
    assert "Traceback" not in (batch.folder / "output.txt").read_text()
    batch.stage.prefect.await_state(run, "CANCELLED")
