"""The `together` command line 3.1 deploys each kind of model that a project can have."""

from typing import Any

import pytest

from tests.support.together_clients import CommandLine, EmulatorProcess, wait_for

SLUG = "emulated-project"
MERGED = f"{SLUG}/support-tone-lora"


def deploy(cli: CommandLine, model: str, endpoint: str, *more: str) -> dict[str, Any]:
    """Deploy a model with all its traffic; returns what the command printed."""
    project = cli.json("whoami")["project"]["id"]
    made: dict[str, Any] = cli.json(
        *("endpoints", "deploy", model, "--endpoint", endpoint, "--project", project),
        *("--min-replicas", "1", "--max-replicas", "1", "--traffic-weight", "1", *more),
    )
    return made


def answered(server: EmulatorProcess, cli: CommandLine, made: dict[str, Any]) -> int:
    """Wait until a deployment is ready; returns the status of a request to it."""
    deployment = made["deployment"]["id"]

    def state() -> str:
        return str(cli.json("endpoints", "get", deployment)["status"]["state"])

    wait_for(state, lambda seen: seen == "DEPLOYMENT_STATE_READY")
    body = {
        "model": made["endpoint"]["name"],
        "messages": [{"role": "user", "content": "Hi"}],
    }
    response = wait_for(
        lambda: server.http.post("/v1/chat/completions", json=body),
        lambda seen: seen.status_code not in (400, 503),
    )
    return response.status_code


def own(cli: CommandLine, name: str) -> dict[str, Any]:
    """Return an own model as `models list` shows it."""
    listed = cli.json("models", "list")["data"]
    found: dict[str, Any] = next(model for model in listed if model["name"] == f"{SLUG}/{name}")
    return found


def first_config(cli: CommandLine, model: str) -> str:
    """Return the first config that the command line lists for a model."""
    config: str = cli.json("models", "configs", model)["data"][0]["id"]
    return config


def test_deploy_of_a_fine_tune_by_name_pairs_it_with_its_bases_config(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    name = f"{SLUG}/support-classifier"

    made = deploy(cli_31, name, "cli-tune", "--config", first_config(cli_31, name))

    assert made["deployment"]["modelId"] == own(cli_31, "support-classifier")["id"]
    assert answered(server, cli_31, made) == 200


def test_deploy_of_a_fine_tune_without_a_config_asks_for_one(cli_31: CommandLine) -> None:
    project = cli_31.json("whoami")["project"]["id"]

    code, printed = cli_31.run(
        *("endpoints", "deploy", f"{SLUG}/support-classifier", "--endpoint", "cli-several"),
        *("--project", project, "--json"),
    )

    assert (code, "--config" in printed) == (1, True)


def test_deploy_by_id_and_by_path_with_a_revision(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    model = own(cli_31, "support-classifier")
    oldest = cli_31.json("models", "list-revisions", model["id"])["data"][-1]["revisionId"]
    config = first_config(cli_31, f"{SLUG}/support-classifier")
    path = f"projects/{model['projectId']}/models/{model['id']}/revisions/{oldest}"

    by_id = deploy(cli_31, model["id"], "cli-id", "--config", config)
    by_path = deploy(cli_31, path, "cli-path", "--config", config)

    assert by_id["deployment"]["modelId"] == model["id"]
    assert by_path["deployment"]["model"] == path
    assert answered(server, cli_31, by_path) == 200


def test_deploy_of_an_upload_uses_its_only_config(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    made = deploy(cli_31, f"{SLUG}/house-style", "cli-upload")

    assert made["deployment"]["config"].startswith(f"projects/{server.project}/configs/")
    assert answered(server, cli_31, made) == 200


def test_deploy_of_an_adapter_merged_serves_the_adapter(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    config = first_config(cli_31, MERGED)

    made = deploy(cli_31, MERGED, "cli-merge", "--merge", "--config", config)

    assert made["deployment"]["modelId"] == own(cli_31, "support-tone-lora")["id"]
    assert answered(server, cli_31, made) == 200


def test_deploy_of_an_adapter_attached_makes_a_deployment_of_the_base(
    server: EmulatorProcess, cli_31: CommandLine
) -> None:
    dynamic = next(
        config["id"]
        for config in cli_31.json("models", "configs", MERGED)["data"]
        if {"key": "adapter_mode", "value": "dynamic"} in config["selectors"]
    )

    made = deploy(cli_31, MERGED, "cli-attach", "--attach-adapter", "--config", dynamic)

    assert made["adapter"]["adapterModelId"] == own(cli_31, "support-tone-lora")["id"]
    assert made["deployment"]["modelId"] == own(cli_31, "support-tone-lora")["baseModelId"]
    assert answered(server, cli_31, made) == 200


def test_deploy_of_an_adapter_without_merge_or_attach_is_refused(cli_31: CommandLine) -> None:
    code, printed = cli_31.run("endpoints", "deploy", MERGED, "--endpoint", "cli-neither", "--json")

    assert (code, "--merge" in printed) == (1, True)


def test_deploy_of_a_model_without_configs_is_refused(cli_31: CommandLine) -> None:
    project = cli_31.json("whoami")["project"]["id"]

    code, printed = cli_31.run(
        *("endpoints", "deploy", f"{SLUG}/too-large", "--endpoint", "cli-none"),
        *("--project", project, "--json"),
    )

    assert (code, "No configs found" in printed) == (1, True)


@pytest.mark.parametrize(
    ("model", "endpoint", "config"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "cli-vision", True),
        ("Qwen/Qwen3.5-9B", "cli-thinking", True),
        ("openai/gpt-oss-20b", "cli-oss", False),
        ("Qwen/Qwen2.5-Omni-7B", "cli-omni", False),
    ],
)
def test_deploy_of_a_catalogue_model(
    server: EmulatorProcess, cli_31: CommandLine, model: str, endpoint: str, *, config: bool
) -> None:
    more = ("--config", first_config(cli_31, model)) if config else ()

    made = deploy(cli_31, model, endpoint, *more)

    assert answered(server, cli_31, made) == 200
