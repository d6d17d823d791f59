"""`mayfly.run` and `mayfly.plan` over DataFrames: results, errors, and the promises of the flow."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mayfly
from mayfly.api.options import Options
from mayfly.models.job_reference import settings
from tests.support.machine import MODEL
from together_emulator import Emulator

QUESTIONS: dict[str, list[Any]] = {
    "id": list(range(12)),
    "question": [f"What is {n} + {n}?" for n in range(12)],
}
JOB: dict[str, Any] = {"model": MODEL, "prompt": "{{ question }}", "max_tokens": 8}


def sent_to(emulator: Emulator) -> int:
    """Return how many rows were sent to the emulator."""
    return sum("/chat/" in call.path for call in emulator.calls())


def test_public_names_are_the_intended_ones() -> None:
    assert dir(mayfly) == [
        "BadRequest", "MayflyError", "Planned", "Result", "batch_inference", "plan", "run",
    ]  # fmt: skip
    assert all(getattr(mayfly, name) is not None for name in dir(mayfly))


def test_options_for_editors_are_those_of_the_job() -> None:
    apart = {"data", "model", "prompt", "output"}

    assert set(Options.__annotations__) == {setting.keyword for setting in settings()} - apart


@pytest.mark.parametrize(
    "data",
    [pd.DataFrame(QUESTIONS), pl.DataFrame(QUESTIONS), pa.table(QUESTIONS)],
    ids=["pandas", "polars", "arrow"],
)
def test_run_with_table_answers_every_row_and_leaves_nothing(emulator: Emulator, data: Any) -> None:
    result = mayfly.run(data, **JOB)

    assert result.exit_code == 0
    assert result.to_arrow()["id"].to_pylist() == QUESTIONS["id"]
    assert result.to_arrow()["response"].null_count == 0
    assert result.to_polars().height == len(QUESTIONS["id"])
    assert not emulator.has_endpoints


@pytest.mark.usefixtures("emulator")
def test_run_with_pandas_keeps_the_index() -> None:
    frame = pd.DataFrame({"question": ["a?", "b?"]}, index=["first", "second"])

    result = mayfly.run(frame, **JOB)

    assert list(result.to_pandas().index) == ["first", "second"]


@pytest.mark.usefixtures("emulator")
def test_run_inside_event_loop_works(tmp_path: Path) -> None:
    async def cell() -> mayfly.Result:
        return mayfly.run(pd.DataFrame(QUESTIONS), output=tmp_path / "out", **JOB)

    assert asyncio.run(cell()).report["rows"]["done"] == len(QUESTIONS["id"])


def test_run_again_sends_nothing(emulator: Emulator, tmp_path: Path) -> None:
    first = mayfly.run(pd.DataFrame(QUESTIONS), output=tmp_path / "out", **JOB)
    sent = sent_to(emulator)

    again = mayfly.run(pd.DataFrame(QUESTIONS), output=tmp_path / "out", **JOB)

    assert sent_to(emulator) == sent
    assert again.to_arrow().equals(first.to_arrow())


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"promt": "x"}, "promt is not an option; did you mean prompt?"),
        ({"max_cost": -1}, "max_cost"),
        ({"prompt": "{{ questoin }}"}, "questoin"),
        ({"data": 7}, "data is a int; give a path or URI"),
        ({"data": ""}, "data must not be empty"),
        ({"output": ""}, "output must not be empty"),
    ],
)
def test_run_with_bad_request_raises_before_create(
    emulator: Emulator, call: dict[str, Any], expected: str
) -> None:
    data = call.get("data", pd.DataFrame(QUESTIONS))
    options = {**JOB, **{name: value for name, value in call.items() if name != "data"}}

    with pytest.raises(mayfly.BadRequest, match=expected.replace("?", r"\?")):
        mayfly.run(data, **options)

    assert not emulator.endpoints()


def test_run_that_would_pass_monthly_budget_raises_bad_request_before_create(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAYFLY_MONTHLY_BUDGET_USD", "0.01")

    with pytest.raises(mayfly.BadRequest, match=r"monthly budget of \$0\.01 .*\$0\.00 spent this"):
        mayfly.run(pd.DataFrame(QUESTIONS), **JOB)

    assert sent_to(emulator) == 0
    assert not any(call.method == "POST" for call in emulator.calls())


def test_run_with_absent_prefect_server_runs_without_a_record(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    result = mayfly.run(pd.DataFrame(QUESTIONS), **JOB)

    assert result.exit_code == 0
    assert not emulator.has_endpoints


def test_run_reaches_prefect_on_loopback_past_proxies(
    emulator: Emulator, prefect_api_url: str
) -> None:
    # Of a process of its own: Prefect reads its settings when it is imported.
    script = (
        "import mayfly, pandas\n"
        f"result = mayfly.run(pandas.DataFrame({QUESTIONS}), **{JOB})\n"
        "raise SystemExit(result.exit_code)\n"
    )
    env = {
        **os.environ,
        "PREFECT_API_URL": prefect_api_url,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "fd00::/8",
    }

    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert f"View at {prefect_api_url.removesuffix('/api')}" in done.stderr
    assert not emulator.has_endpoints


class NotebookShell:
    """What rich takes for the sign of a notebook."""

    __module__ = "google.colab"


@pytest.mark.usefixtures("emulator")
def test_plan_in_notebook_is_the_cells_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.get_ipython", NotebookShell, raising=False)

    planned = mayfly.plan(pd.DataFrame(QUESTIONS), **JOB)

    assert "hardware" in repr(planned)


def test_bad_request_in_notebook_is_one_line() -> None:
    error = mayfly.BadRequest("--prompt uses x")

    assert error._render_traceback_() == ["BadRequest: --prompt uses x"]


def test_plan_prints_hardware_and_creates_nothing(emulator: Emulator) -> None:
    planned = mayfly.plan(pd.DataFrame(QUESTIONS), **JOB)

    assert planned.as_dict()["rows"] == len(QUESTIONS["id"])
    assert "1xnvidia-h100-80gb" in repr(planned)
    assert not emulator.endpoints()
