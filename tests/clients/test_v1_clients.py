"""Third-party clients of the legacy API: SDK and command line 2.42, npm, curl."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.together_clients import (
    HERE,
    MODEL,
    V1_HARDWARE,
    CommandLine,
    EmulatorProcess,
    wait_for,
)


def run(server: EmulatorProcess, home: Path, *command: str | Path, cwd: Path = HERE) -> Any:
    """Run a script against the legacy API; returns the JSON that it prints."""
    ended = subprocess.run(
        command,
        cwd=cwd,
        env=server.environment(base="/v1", home=home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_sdk_2_completes_a_v1_lifecycle(
    server: EmulatorProcess, home: Path, python_242: Path
) -> None:
    seen = run(server, home, python_242, HERE / "v1_life.py", MODEL, V1_HARDWARE)

    assert seen["who"] == "emulated-project"
    assert seen["hardware"][0] == V1_HARDWARE
    assert seen["price"] == [9.0, 11.0, 15.0]
    assert seen["available"] == ["available"] * 3
    assert seen["answer"] == seen["streamed"]
    assert seen["written"] == 4
    assert seen["renamed"] == ["renamed", 2]
    assert seen["endpoint"] in seen["listed"]
    assert seen["endpoint"] not in seen["left"]
    assert [state for state in seen["async"] if state == "STARTED"]


def test_cli_2_creates_waits_stops_starts_and_deletes(
    server: EmulatorProcess, cli_242: CommandLine
) -> None:
    who = cli_242.json("whoami")
    hardware = cli_242.json("endpoints", "hardware", "--model", MODEL, "--available")
    zones = cli_242.ok("endpoints", "availability-zones")
    made = cli_242.json(
        *("endpoints", "create", "--model", MODEL, "--hardware", V1_HARDWARE),
        *("--min-replicas", "1", "--max-replicas", "3", "--display-name", "cli-2"),
        *("--availability-zone", "us-central-1", "--no-speculative-decoding"),
        *("--inactive-timeout", "1440", "--wait"),
    )
    endpoint = made["id"]
    shown = cli_242.json("endpoints", "retrieve", endpoint)
    listed = cli_242.json("endpoints", "list")
    text = cli_242.ok("endpoints", "retrieve", endpoint)
    cli_242.json(
        *("endpoints", "update", endpoint, "--min-replicas", "2", "--max-replicas", "2"),
        *("--display-name", "cli-2-renamed"),
    )
    updated = cli_242.json("endpoints", "retrieve", endpoint)
    cli_242.json("endpoints", "stop", endpoint, "--wait")
    stopped = cli_242.json("endpoints", "retrieve", endpoint)["state"]
    cli_242.json("endpoints", "start", endpoint, "--wait")
    started = cli_242.json("endpoints", "retrieve", endpoint)["state"]
    cli_242.ok("endpoints", "delete", endpoint)
    code, gone = cli_242.run("endpoints", "retrieve", endpoint)

    assert server.project in json.dumps(who)
    assert V1_HARDWARE in {kind["id"] for kind in hardware}
    assert "us-central-1" in zones
    assert (shown["state"], shown["autoscaling"]["max_replicas"]) == ("STARTED", 3)
    assert endpoint in {entry["id"] for entry in listed}
    assert endpoint in text
    assert updated["autoscaling"] == {"min_replicas": 2, "max_replicas": 2}
    assert updated["display_name"] == "cli-2-renamed"
    assert (stopped, started) == ("STOPPED", "STARTED")
    assert (code, "not found" in gone) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--hardware", "1x_nvidia_z9_1gb_sxm"), "Invalid hardware selected"),
        ((), "Missing required argument --hardware"),
        (("--hardware", V1_HARDWARE, "--availability-zone", "moon"), "Invalid availability zone"),
    ],
)
def test_cli_2_shows_why_a_create_is_refused(
    cli_242: CommandLine, arguments: tuple[str, ...], expected: str
) -> None:
    code, printed = cli_242.run("endpoints", "create", "--model", MODEL, "--no-json", *arguments)

    assert (code, expected in printed) == (1, True), printed


def test_npm_package_completes_a_v1_lifecycle(
    server: EmulatorProcess, home: Path, node_folder: Path
) -> None:
    script = node_folder / "v1_life.mjs"
    shutil.copy(HERE / "v1_life.mjs", script)

    seen = run(server, home, "node", script, MODEL, V1_HARDWARE, cwd=node_folder)

    assert seen["hardware"][0] == V1_HARDWARE
    assert "us-central-1" in seen["zones"]
    assert seen["answer"] == seen["streamed"]
    assert seen["written"] == 4
    assert seen["renamed"] == "npm-2"
    assert seen["refused"] == [400, "dedicated_endpoint_not_running"]
    assert seen["endpoint"] in seen["listed"]
    assert seen["gone"] == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_completes_the_documented_v1_lifecycle(server: EmulatorProcess) -> None:
    def curl(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        command = ["curl", "-sS", "-X", method, f"{server.url}/v1{path}", "-w", "\n%{http_code}"]
        command += ["-H", "Authorization: Bearer local"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        printed = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True
        ).stdout
        text, _, status = printed.rpartition("\n")
        return int(status), json.loads(text) if text else None

    def state() -> str:
        return str(curl("GET", f"/endpoints/{endpoint}")[1]["state"])

    hardware = curl("GET", f"/hardware?model={MODEL}")
    zones = curl("GET", "/clusters/availability-zones")
    created = curl(
        "POST",
        "/endpoints",
        {
            "display_name": "My Llama3 70b endpoint",
            "model": MODEL,
            "hardware": V1_HARDWARE,
            "autoscaling": {"min_replicas": 1, "max_replicas": 3},
            "disable_speculative_decoding": False,
            "inactive_timeout": 1440,
            "state": "STARTED",
        },
    )
    endpoint = created[1]["id"]
    wait_for(state, lambda seen: seen == "STARTED")
    request = {"model": created[1]["name"], "messages": [{"role": "user", "content": "Hi"}]}
    answered = curl("POST", "/chat/completions", request)
    by_id = curl("POST", "/chat/completions", request | {"model": endpoint})
    listed = curl("GET", "/endpoints?type=dedicated&mine=true")
    updated = curl(
        "PATCH",
        f"/endpoints/{endpoint}",
        {"display_name": "New", "autoscaling": {"min_replicas": 2, "max_replicas": 4}},
    )
    stopping = curl("PATCH", f"/endpoints/{endpoint}", {"state": "STOPPED"})
    wait_for(state, lambda seen: seen == "STOPPED")
    refused = curl("POST", "/chat/completions", request)
    starting = curl("PATCH", f"/endpoints/{endpoint}", {"state": "STARTED"})
    wait_for(state, lambda seen: seen == "STARTED")
    deleted = curl("DELETE", f"/endpoints/{endpoint}")
    gone = curl("GET", f"/endpoints/{endpoint}")

    assert hardware[1]["data"][0]["availability"] == {"status": "available"}
    assert "us-central-1" in zones[1]["avzones"]
    assert created[1]["state"] == "PENDING"
    assert answered[0] == 200
    assert by_id[0] == 404
    assert endpoint in {entry["id"] for entry in listed[1]["data"]}
    assert updated[1]["autoscaling"] == {"min_replicas": 2, "max_replicas": 4}
    assert stopping[1]["state"] == "STOPPING"
    assert (refused[0], refused[1]["error"]["code"]) == (400, "dedicated_endpoint_not_running")
    assert starting[1]["state"] == "PENDING"
    assert deleted == (204, None)
    assert gone[0] == 404
