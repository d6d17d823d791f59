"""The `together` command line 3.1: the lifecycle of an endpoint as its help describes it."""

import subprocess
import sys
from pathlib import Path

from tests.support.together_clients import MODEL, CommandLine, EmulatorProcess, wait_for


def test_console_script_runs(server: EmulatorProcess, home: Path) -> None:
    script = Path(sys.executable).with_name("together")

    ended = subprocess.run(
        [script, "whoami"],
        env=server.environment(home=home),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert server.project in ended.stdout


def test_cli_3_deploys_updates_and_removes(server: EmulatorProcess, cli_31: CommandLine) -> None:
    who = cli_31.json("whoami")
    public = cli_31.json("models", "public", "--product", "dedicated")
    configs = cli_31.json("models", "configs", MODEL)
    own = cli_31.json("models", "list")
    made = cli_31.json(
        *("endpoints", "deploy", MODEL, "--config", configs["data"][0]["id"]),
        *("--endpoint", "cli-3", "--min-replicas", "1", "--max-replicas", "1"),
        *("--inactive-timeout", "1440", "--traffic-weight", "1"),
    )
    endpoint = made["endpoint"]["id"]
    deployment = made["endpoint"]["deployments"][0]["id"]

    def state() -> str:
        return str(cli_31.json("endpoints", "get", deployment)["status"]["state"])

    wait_for(state, lambda seen: seen == "DEPLOYMENT_STATE_READY")
    listed = cli_31.ok("endpoints", "ls")
    shown = cli_31.ok("endpoints", "get", "cli-3")
    events = cli_31.json("endpoints", "events", "cli-3")
    updated = server.http.post(
        "/v1/chat/completions",
        json={
            "model": "emulated-project/cli-3",
            "messages": [{"role": "user", "content": "Hi"}],
        },
    )
    grown = cli_31.json(
        *("endpoints", "update", deployment, "--min-replicas", "2", "--max-replicas", "2")
    )
    early, refused = cli_31.run("endpoints", "rm", deployment, "--json")
    # The refused removal sends 0/0 by itself; the documented way sends it again.
    cli_31.json("endpoints", "update", deployment, "--traffic-weight", "0")
    cli_31.json("endpoints", "update", deployment, "--min-replicas", "0", "--max-replicas", "0")
    wait_for(state, lambda seen: seen == "DEPLOYMENT_STATE_STOPPED")
    cli_31.json("endpoints", "rm", deployment)
    cli_31.json("endpoints", "rm", endpoint)
    code, gone = cli_31.run("endpoints", "get", "cli-3", "--json")

    assert who["project"]["id"] == server.project
    assert MODEL in {model["name"] for model in public["data"]}
    assert "emulated-project/support-classifier" in {model["name"] for model in own["data"]}
    assert "cli-3" in listed
    assert "cli-3" in shown
    assert updated.status_code == 200
    assert "deployment.created" in {event["type"] for event in events["data"]}
    assert grown["autoscaling"] == {"maxReplicas": 2, "minReplicas": 2}
    assert (early, "stopp" in refused) == (1, True)
    assert (code, "not found" in gone) == (1, True)


def test_cli_3_uses_the_only_config_and_force_removes_a_running_endpoint(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    model = "intfloat/multilingual-e5-large-instruct"

    first = cli_31.json("endpoints", "deploy", model, "--endpoint", "cli-force")
    again = cli_31.json("endpoints", "deploy", model, "--endpoint", "cli-force")
    remove = ("endpoints", "rm", first["endpoint"]["id"], "--force", "--json")
    code, _ = cli_31.run(*remove)
    # It does not wait for the stops that it requests: a later call finds them stopped.
    last, _ = wait_for(lambda: cli_31.run(*remove), lambda ended: ended[0] == 0)

    assert first["endpoint"]["id"] == again["endpoint"]["id"]
    assert (code, last) == (1, 0)
    assert "emulated-project/cli-force" not in server.endpoint_names()
