"""`python -m together_emulator` as a process: start, clock, options, end."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.emulator.conftest import TLS
from tests.support.emulator_client import EmulatorClient
from tests.support.wait import wait_until
from together_emulator import Emulator, RealClock
from together_emulator.cli import read_free, read_models


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Start a server process; yields it with a client of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "together_emulator", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            url = line.split()[-1]
            with httpx.Client(base_url=url, headers={"authorization": "Bearer local"}) as http:
                yield process, http
        finally:
            if process.poll() is None:
                process.kill()


def create(http: httpx.Client) -> None:
    """Create an endpoint."""
    project = http.get("/v3/whoami").json()["project"]["id"]
    assert http.post(f"/v2/projects/{project}/endpoints", json={"name": "a"}).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_emulator_with_exit_code_0(number: signal.Signals) -> None:
    with running() as (process, http):
        create(http)

        process.send_signal(number)

        assert process.wait(20) == 0


def test_emulator_ends_when_parent_died_and_no_endpoint_exists() -> None:
    with running("--exit-with-parent", "--linger", "600") as (process, _):
        assert process.stdin is not None
        process.stdin.close()

        assert process.wait(20) == 0


def test_emulator_of_dead_parent_waits_for_the_teardown() -> None:
    with running("--exit-with-parent", "--linger", "600") as (process, http):
        create(http)
        assert process.stdin is not None
        process.stdin.close()

        project = http.get("/v3/whoami").json()["project"]["id"]
        endpoint = http.get(f"/v2/projects/{project}/endpoints").json()["data"][0]["id"]
        deleted = http.delete(f"/v2/projects/{project}/endpoints/{endpoint}")

        assert deleted.status_code == 200
        assert process.wait(20) == 0


def test_emulator_of_dead_parent_ends_after_its_limit() -> None:
    with running("--exit-with-parent", "--linger", "0.2") as (process, http):
        create(http)
        assert process.stdin is not None
        process.stdin.close()

        assert process.wait(20) == 0


def test_capacity_option_sets_capacity() -> None:
    with running("--replicas-free", "1xnvidia-h100-80gb@eu-west-1=0") as (_, http):
        free_capacity = http.get("/_emulator/capacity").json()["capacity"]

    free = {
        entry["region"]: entry["free"]
        for entry in free_capacity
        if entry["hardware"] == "1xnvidia-h100-80gb"
    }
    assert free == {"us-central-1": 24, "us-east-1": 6, "eu-west-1": 0}


@pytest.mark.parametrize("value", ["x", "1xnvidia-h100-80gb=", "=3", "a=-1"])
def test_invalid_capacity_option_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="replicas-free"):
        read_free([value])


def test_clock_runs_and_can_be_advanced_over_http() -> None:
    with running("--speed", "1") as (_, http):
        before = http.get("/_emulator/clock").json()["now_s"]
        after = http.post("/_emulator/clock", json={"advance_s": 3600}).json()["now_s"]

    assert after - before >= 3600


def test_faults_and_legacy_api_are_options(tmp_path: Path) -> None:
    rules = tmp_path / "faults.toml"
    rules.write_text('[[rules]]\naction = "status"\nstatus = 502\npath = "/v3/whoami$"\n')
    script = Path(sys.executable).with_name("mayfly")
    command = [str(script), "emulator", "--port", "0", "--faults", str(rules), "--v1-create"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        key = {"authorization": "Bearer local"}
        faulty = httpx.get(f"{url}/v3/whoami", headers=key).status_code
        allowed = httpx.get(f"{url}/_emulator/settings").json()["v1_create"]
        process.terminate()

    assert (faulty, allowed) == (502, True)
    assert process.returncode == 0


def test_help_lists_options() -> None:
    script = Path(sys.executable).with_name("mayfly")

    said = subprocess.run(
        [script, "emulator", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout

    for option in ("--faults", "--upstream", "--v1-create", "--speed", "--replicas-free"):
        assert option in said


def test_clock_speed_can_change_while_endpoint_serves() -> None:
    headers = {"authorization": "Bearer local"}
    with (
        Emulator(speed=3000, serving_speed=1.0) as emulator,
        httpx.Client(base_url=emulator.url, headers=headers, verify=TLS, timeout=20) as http,
    ):
        api = EmulatorClient(emulator, http)
        deployment = api.deploy(api.endpoint())

        def speed() -> float:
            return float(http.get("/_emulator/clock").json()["speed"])

        before = speed()
        wait_until(lambda: speed() == 1.0, "the clock runs in real time")
        serving = api.state(deployment)
        api.scale(deployment, 0, 0)
        wait_until(lambda: api.state(deployment) == "STOPPED", "the deployment has stopped")

    assert (before, serving) == (3000.0, "READY")


def test_clock_keeps_its_time_when_its_speed_changes() -> None:
    clock = RealClock(1_000_000)
    before_s = clock.now_s()

    clock.run_at(0.001)
    after_s = clock.now_s()
    clock.advance(5)

    assert after_s >= before_s
    assert 5 <= clock.now_s() - after_s < 6


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        ([], ()),
        (["tiny"], (("", "tiny"),)),
        (["Qwen/Qwen3.5-9B=q.gguf", "rest"], (("Qwen/Qwen3.5-9B", "q.gguf"), ("", "rest"))),
    ],
)
def test_upstream_model_option_names_one_model_or_all(
    values: list[str], pairs: tuple[tuple[str, str], ...]
) -> None:
    assert read_models(values) == pairs


@pytest.mark.parametrize(
    "options",
    [
        ("--speed", "0"),
        ("--slots", "-1"),
        ("--latency", "-1"),
        ("--upstream-model", "Qwen/Qwen3.5-9B="),
        ("--catalogue", "does-not-exist.json"),
        ("--replicas-free", "1xnvidia-h100-80gb"),
    ],
)
def test_wrong_option_exits_with_2_before_it_listens(options: tuple[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "together_emulator", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert "listening" not in ended.stdout
    assert options[0].removeprefix("--").split("-")[0] in ended.stderr


def test_faults_file_that_cannot_be_read_is_named_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "together_emulator", "--faults", "missing.toml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert (
        ended.stderr == "mayfly emulator: missing.toml cannot be read: No such file or directory\n"
    )
