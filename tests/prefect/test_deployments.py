"""The deployments that the README's commands create, and a run of one."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.prefect.conftest import KEY, PrefectStage
from tests.support.prefect_deployments import PREFECT, ROOT
from tests.support.wait import wait_until

ROWS = 10_000
SAME = (
    "description", "enforce_parameter_schema", "entrypoint", "job_variables", "parameters",
    "parameter_openapi_schema", "pull_steps", "tags", "work_pool_name",
)  # fmt: skip
NAMES = ("batch-inference", "sweep-endpoints", "manage-endpoints")


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of the batch over ten thousand rows that has ended."""

    run: dict[str, Any]
    output: Path
    tasks: dict[str, str]
    """The message of each task run's state, by its name."""


@pytest.fixture(scope="module")
def ended(stage: PrefectStage, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run for all read-only tests."""
    folder = tmp_path_factory.mktemp("deployed")
    pd.DataFrame({"prompt": [f"row {n}" for n in range(ROWS)]}).to_parquet(folder / "rows.parquet")
    run = stage.prefect.start(
        stage.job(
            folder / "answers",
            input=str(folder / "rows.parquet"),
            prompt={},
            sampling={"max_tokens": 4},
            tags=["team=search"],
        )
    )
    found = stage.prefect.await_state(run, "COMPLETED")

    # Prefect records task runs later than they happen.
    def messages() -> dict[str, str] | None:
        found = stage.prefect.of_run("task_runs", run)
        tasks = {t["name"]: t["state"]["message"] for t in found if t["state"]}
        return tasks if len(tasks) == len(found) and tasks.get("write report") else None

    return Ended(found, folder / "answers", wait_until(messages, "the last task run's state"))


def test_batch_has_an_inactive_nightly_schedule(
    stage: PrefectStage,
) -> None:
    deployment = stage.prefect.deployment("batch-inference/batch-inference")

    assert [schedule["active"] for schedule in deployment["schedules"]] == [False]
    assert [s["parameters"] for s in deployment["schedules"]] == [{"rows": {"incremental": True}}]
    assert deployment["global_concurrency_limit"]["limit"] == 1


def test_sweep_runs_every_10_minutes(stage: PrefectStage) -> None:
    deployment = stage.prefect.deployment("sweep-endpoints/sweep-endpoints")

    assert [(s["schedule"]["cron"], s["active"]) for s in deployment["schedules"]] == [
        ("*/10 * * * *", True)
    ]


def test_deployments_name_no_folder_and_no_parameters(stage: PrefectStage) -> None:
    for name in NAMES:
        deployment = stage.prefect.deployment(f"{name}/{name}")
        assert deployment["parameters"] == {}
        assert deployment["path"] in (None, ".")
        assert deployment["entrypoint"].startswith("mayfly.flows.")


def test_batch_form_offers_available_runners_only(stage: PrefectStage) -> None:
    schema = stage.prefect.deployment("batch-inference/batch-inference")["parameter_openapi_schema"]

    assert schema["properties"]["runner"]["enum"] == ["local", "processes", "dask"]


def test_credentials_block_has_fields_secret_logo_and_documentation(
    stage: PrefectStage,
) -> None:
    kind = stage.prefect.request("GET", "/block_types/slug/together-credentials")
    schema = stage.prefect.request(
        "POST", "/block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind["id"]]}}
    )[0]

    fields = schema["fields"]["properties"]
    assert {name: field["type"] for name, field in fields.items()} == {
        "api_key": "string", "project": "string", "base_url": "string",
        "monthly_budget_usd": "string",
    }  # fmt: skip
    assert fields["api_key"]["format"] == "password"
    assert schema["fields"]["secret_fields"] == ["api_key"]
    assert kind["logo_url"].startswith("https://")
    assert kind["documentation_url"].startswith("https://")


def test_prefect_yaml_registers_the_same_as_mayfly_deploy(stage: PrefectStage) -> None:
    def registered() -> list[dict[str, Any]]:
        found = [stage.prefect.deployment(f"{name}/{name}") for name in NAMES]
        return [
            {key: one[key] for key in SAME}
            | {"limit": (one["global_concurrency_limit"] or {}).get("limit")}
            | {"schedules": [(s["schedule"]["cron"], s["active"]) for s in one["schedules"]]}
            for one in found
        ]

    ours = registered()
    subprocess.run(
        [PREFECT, "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": stage.prefect.api, "DO_NOT_TRACK": "1"},
        check=True,
        capture_output=True,
        timeout=240,
    )

    assert registered() == ours


def test_deployed_run_answers_every_row_and_deletes_its_endpoint(
    stage: PrefectStage, ended: Ended
) -> None:
    assert pd.read_parquet(ended.output)["response"].notna().sum() == ROWS
    assert stage.endpoint_count() == 0


def test_run_has_name_tags_and_result_in_its_state(ended: Ended) -> None:
    assert ended.run["name"] == "Qwen2.5-7B-Instruct over rows.parquet"
    assert {"mayfly", "team=search"} <= set(ended.run["tags"])
    assert ended.run["state"]["message"].startswith("10,000 of 10,000 rows answered; $")
    assert ended.run["state"]["message"].endswith("deleted (confirmed: 404)")


def test_step_states_say_their_result(ended: Ended) -> None:
    assert "10,000 rows on 1xnvidia-h100-80gb, $5.49/h" in ended.tasks["select hardware"]
    assert ended.tasks["await READY"].startswith("READY after ")
    assert ended.tasks["await READY"].endswith("on 1xnvidia-h100-80gb, $5.49/h")
    assert " no longer bills; $" in ended.tasks["stop endpoint"]
    assert "404" in ended.tasks["delete endpoint"]
    assert "rows, 0 failed" in ended.tasks["answer shard 0"]


def test_run_of_10000_rows_logs_tens_of_lines(stage: PrefectStage, ended: Ended) -> None:
    assert 10 < len(stage.prefect.of_run("logs", ended.run["id"])) < 80


def test_plan_progress_and_result_are_artifacts(stage: PrefectStage, ended: Ended) -> None:
    run = ended.run["id"]
    plan = stage.prefect.artifact(run, "batch-inference-plan")
    progress = stage.prefect.artifact(run, "batch-inference-progress")
    result = stage.prefect.artifact(run, "batch-inference-result")

    assert "cheapest available" in plan["data"]
    assert progress["data"] == 100
    assert progress["updated"] > progress["created"]
    assert "10,000 of 10,000 rows" in progress["description"]
    assert f":{ended.output}/_mayfly/report.html" in result["data"]
    assert "file://" not in result["data"]


def test_answers_are_an_asset_with_its_input(stage: PrefectStage, ended: Ended) -> None:
    def materialised() -> dict[str, Any] | None:
        found = stage.prefect.request(
            "POST",
            "/events/filter",
            filter={"event": {"prefix": ["prefect.asset.materialization"]}},
            limit=20,
        )["events"]
        return next(
            (e for e in found if e["resource"]["prefect.resource.id"] == f"file://{ended.output}"),
            None,
        )

    event = wait_until(materialised, "the event of a materialised asset")

    sources = [r["prefect.resource.id"] for r in event["related"]]
    assert f"file://{ended.output.with_name('rows.parquet')}" in sources
    assert event["payload"]["rows"]["total"] == ROWS


def test_key_is_never_in_clear_text(stage: PrefectStage, ended: Ended) -> None:
    files = [
        path
        for folder in (stage.folder, ended.output)
        for path in folder.rglob("*")
        if path.is_file()
    ]

    assert any(path.suffix == ".db" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
