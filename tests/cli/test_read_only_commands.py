"""Read-only commands: help, JSON for scripts, and modules that they must not import."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.shell import MODEL, ROOT, Shell

PLAN = ["plan", "questions.parquet", "--model", MODEL, "--prompt", "{{ question }}"]


def test_hardware_is_printed_as_table_and_json(shell: Shell) -> None:
    every = shell("hardware", "--json").json
    fitting = shell("hardware", "--json", "--model", MODEL).json
    table = shell("hardware", "--model", MODEL)

    assert {"hardware", "gpu_count", "price_usd_per_h", "regions"} <= every[0].keys()
    prices = [offer["price_usd_per_h"] for offer in every]
    assert prices == sorted(prices)
    assert {offer["hardware"] for offer in fitting} < {offer["hardware"] for offer in every}
    assert (table.code, table.err) == (0, "")
    for offer in fitting:
        assert offer["hardware"] in table.out
        assert f"{offer['price_usd_per_h']:.2f}" in table.out


def test_plan_spends_nothing_and_has_its_json_keys(shell: Shell) -> None:
    plan = shell(*PLAN, "--json").json

    assert {
        "input", "model", "rows", "columns", "fingerprint", "endpoint", "replicas", "hardware",
        "usd_per_h", "estimated_s", "estimated_usd", "candidates",
    } <= plan.keys()  # fmt: skip
    assert (plan["rows"], plan["hardware"]) == (40, "1xnvidia-h100-80gb")
    assert [candidate["chosen"] for candidate in plan["candidates"]].count(True) == 1
    assert shell.creations == 0
    assert not (shell.folder / "out").exists()


def test_pipe_output_has_whole_lines_without_colours(shell: Shell) -> None:
    ended = shell(*PLAN, "--output", "a/very/long/way/" * 12, env={"FORCE_COLOR": "1"})

    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert f"output  {'a/very/long/way/' * 12}" in ended.out
    assert not [line for line in ended.out.splitlines() if line.endswith(" ")]


@pytest.mark.parametrize(
    ("arguments", "contains"),
    [
        ([], ["run", "plan", "status", "hardware", "sweep", "history"]),
        ([], ["TOGETHER_API_KEY", "--local", "130, 143"]),
        (
            ["run"],
            [
                "INPUT Dataset of one row per request",
                "--prompt",
                "--schema",
                "--max-cost",
                "--teardown",
                "Examples:",
                "resume",
            ],
        ),
        (["plan"], ["Nothing is created or spent", "--replicas"]),
        (["status"], ["--watch", "--json"]),
        (["hardware"], ["--model"]),
        (["export"], ["--to FILE", "--format FORMAT", "openai-batch, jsonl, csv or parquet"]),
        (["history"], ["--by TAG"]),
        (["deploy"], ["--pool NAME", "[default: mayfly]", "--notify TYPE/NAME"]),
        (["endpoints", "show"], ["endpoints show NAME [OPTIONS]", "A name, `slug/name` or an id"]),
    ],
)
def test_help_has_examples_and_defaults(
    shell: Shell, arguments: list[str], contains: list[str]
) -> None:
    ended = shell(*arguments, "--help")

    assert (ended.code, ended.err) == (0, "")
    text = " ".join(ended.out.split())
    for word in contains:
        assert word in text


@pytest.mark.parametrize("command", ["status", "endpoints", "sweep", "endpoints show"])
def test_help_of_a_command_covers_that_command_only(shell: Shell, command: str) -> None:
    ended = shell(*command.split(), "--help")

    assert (ended.code, ended.err) == (0, "")
    assert "Exit codes" not in ended.out
    assert ("endpoints delete" in ended.out) == (command == "endpoints")


def test_history_without_runs_says_so(shell: Shell) -> None:
    assert shell("history", "--json").json == []
    assert shell("history").out.startswith("no runs yet")


HEAVY = {"prefect", "pandas", "matplotlib", "fsspec", "polars"}

UNUSED = {
    "together.resources.beta",
    "together.resources.chat",
    "together.resources.endpoints.endpoints",
    "together.resources.files",
    "together.resources.fine_tuning",
    "together.types.chat",
    "together.types.completion",
    "together.types.fine_tuning_cancel_response",
    "filelock",
}
"""Of the SDK, what its import takes half a second for and no call of these commands needs."""

LOADED = """
import json, sys
from mayfly.cli.main import main
code = main(sys.argv[1:])
print("\\n" + json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], {*HEAVY, "pyarrow", "together", "numpy", "httpx", "pydantic"}),
        (["run", "--help"], {*HEAVY, "pyarrow", "together", "numpy", "httpx"}),
        (["history"], {*HEAVY, "pyarrow", "together", "numpy"}),
        (["hardware"], {*HEAVY, *UNUSED, "pyarrow", "numpy", "mayfly.inference"}),
        (PLAN, {*HEAVY, *UNUSED, "mayfly.reporting.metrics"}),
    ],
    ids=["help", "help of run", "history", "hardware", "plan"],
)
def test_read_only_commands_import_no_run_modules(
    shell: Shell, arguments: list[str], never: set[str]
) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=shell.folder,
        env={**shell.env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded: list[Any] = json.loads(done.stdout.splitlines()[-1])

    assert never & set(loaded) == set()


def test_exceeded_budget_is_refused_by_run_and_noted_by_plan(shell: Shell) -> None:
    budget: dict[str, str | None] = {"MAYFLY_MONTHLY_BUDGET_USD": "0.01"}

    refused = shell("run", *PLAN[1:], "--output", "out", "--yes", env=budget)
    planned = shell(*PLAN, env=budget)

    assert refused.code == 2
    assert "monthly budget of $0.01 (MAYFLY_MONTHLY_BUDGET_USD): $0.00 spent" in refused.err
    assert (planned.code, planned.err) == (0, "")
    assert "`mayfly run` would reject this: monthly budget" in planned.out
    assert shell.creations == 0
