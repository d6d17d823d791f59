"""Prefect states in real time: late approval, suspend, pause, cancel."""

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.prefect.conftest import KEY, MODEL
from tests.soak.conftest import Tried
from tests.support.prefect_deployments import prefect_command
from tests.support.wait import wait_until

LEASE_RENEWAL_S = 225.0
"""When Prefect ends a run that has given its concurrency slot back by a pause."""

SUSPENDED = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
PAUSED = {"type": "PAUSED", "name": "Paused"}


def set_state(tried: Tried, run: str, state: dict[str, Any]) -> None:
    """Set a run's state as the UI does."""
    answer = tried.stage.prefect.request("POST", f"/flow_runs/{run}/set_state", state=state)
    assert answer["status"] == "ACCEPT", answer


@pytest.mark.soak
def test_run_approved_after_minutes_completes(tried: Tried) -> None:
    client = tried.stage.prefect
    limits = {"concurrency": 1, "approve_above_usd": 0}
    run = client.start_of(tried.deploy("approved-late"), tried.job(limits=limits))
    client.await_state(run, "PAUSED")

    time.sleep(LEASE_RENEWAL_S + 30)

    assert client.run(run)["state_name"] == "Suspended"
    assert not tried.together.has_endpoints
    tried.stage.prefect.resume(run, decision="approve")
    client.await_state(run, "COMPLETED")
    tried.assert_complete(60)


@pytest.mark.soak
def test_run_waiting_for_approval_lets_another_run_start(tried: Tried) -> None:
    client = tried.stage.prefect
    deployment = tried.deploy("gives-its-slot")
    limits = {"concurrency": 1, "approve_above_usd": 0}
    waiting = client.start_of(deployment, tried.job(limits=limits))
    client.await_state(waiting, "PAUSED")

    other = client.start_of(deployment, tried.job(output=str(tried.folder / "other")))

    client.await_state(other, "COMPLETED")
    tried.stage.prefect.resume(waiting, decision="refuse")
    ended = client.await_state(waiting, "FAILED")
    assert ended["state"]["message"] == "the plan was refused; nothing was created"


@pytest.mark.soak
@pytest.mark.parametrize("asked", [SUSPENDED, PAUSED], ids=["suspend", "pause"])
def test_suspended_worker_run_stops_billing_and_resumes(
    tried: Tried, asked: dict[str, Any]
) -> None:
    client = tried.stage.prefect
    run = client.start_of(tried.deploy(f"left-{asked['name'].lower()}"), tried.job())
    tried.await_midway()

    set_state(tried, run, asked)

    tried.await_stopped()
    wait_until(lambda: client.run(run)["state_name"] == "Suspended", "the state", every_s=0.5)
    sent = tried.answered()
    assert sent < 60
    # Its process ends after the endpoint; a resume before that would start a second one beside it.
    wait_until(lambda: "is paused" in client.logs(run) or "Suspended" in client.logs(run),
               "the end of the process", every_s=0.5)  # fmt: skip
    tried.stage.prefect.resume(run)
    client.await_state(run, "COMPLETED")
    tried.assert_complete(60)
    assert tried.answered() <= 61
    assert "Traceback" not in client.logs(run)


@pytest.mark.soak
def test_cancelled_worker_run_stops_billing(tried: Tried) -> None:
    client = tried.stage.prefect
    run = client.start_of(tried.deploy("cancelled"), tried.job())
    tried.await_midway()

    prefect_command(tried.stage.prefect.api, "flow-run", "cancel", run)

    tried.await_stopped()
    client.await_state(run, "CANCELLED")
    assert "Traceback" not in client.logs(run)


@pytest.fixture
def ad_hoc(tried: Tried) -> Any:
    """A run by the command line on the session's Prefect server, midway."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("TOGETHER_", "PREFECT_"))}
    env = keep | {
        "TOGETHER_BASE_URL": tried.together.url,
        "TOGETHER_API_KEY": KEY,
        "PREFECT_API_URL": tried.stage.prefect.api,
        "MAYFLY_HOME": str(tried.folder / "home"),
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable, "-m", "mayfly.cli.entry", "run", str(tried.folder / "input"),
        "--model", MODEL, "--output", str(tried.output), "--concurrency", "1", "--yes",
    ]  # fmt: skip
    with (tried.folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        tried.await_midway()
        yield process, tried.stage.prefect.run_with("output", str(tried.output))
    finally:
        process.kill()
        process.wait()


@pytest.mark.soak
def test_paused_ad_hoc_run_stops_billing_and_resumes(
    tried: Tried, ad_hoc: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run = ad_hoc

    set_state(tried, run, PAUSED)

    tried.await_stopped()
    assert tried.stage.prefect.run(run)["state_name"] == "Paused"
    assert process.poll() is None
    tried.stage.prefect.resume(run)
    assert process.wait(180) == 0, (tried.folder / "output.txt").read_text()
    tried.assert_complete(60)
    tried.stage.prefect.await_state(run, "COMPLETED")


@pytest.mark.soak
def test_cancelled_ad_hoc_run_stops_billing(
    tried: Tried, ad_hoc: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run = ad_hoc

    prefect_command(tried.stage.prefect.api, "flow-run", "cancel", run)

    tried.await_stopped()
    assert process.wait(60) == 130, (tried.folder / "output.txt").read_text()
    assert "Traceback" not in (tried.folder / "output.txt").read_text()
    tried.stage.prefect.await_state(run, "CANCELLED")
